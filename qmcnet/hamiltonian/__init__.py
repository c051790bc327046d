"""Local energies of molecular Hamiltonians."""

from qmcnet.hamiltonian.molecular import LocalEnergy, MolecularHamiltonian
from qmcnet.hamiltonian.states import StatesHamiltonian

__all__ = ["LocalEnergy", "MolecularHamiltonian", "StatesHamiltonian"]
