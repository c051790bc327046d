"""What acts on states: terms of the Hamiltonian, and what is observed."""

from qmcnet.operators.hamiltonian import LocalEnergy, MolecularHamiltonian
from qmcnet.operators.operator import Operator, States

__all__ = ["LocalEnergy", "MolecularHamiltonian", "Operator", "States"]
