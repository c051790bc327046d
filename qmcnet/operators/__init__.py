"""What acts on states: terms of the Hamiltonian, and what is observed."""

from qmcnet.operators.hamiltonian import LocalEnergy, MolecularHamiltonian
from qmcnet.operators.states_hamiltonian import StatesHamiltonian

__all__ = ["LocalEnergy", "MolecularHamiltonian", "StatesHamiltonian"]
