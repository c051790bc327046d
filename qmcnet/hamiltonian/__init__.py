"""Local energies of molecular Hamiltonians."""

from qmcnet.hamiltonian.molecular import LocalEnergy, MolecularHamiltonian

__all__ = ["LocalEnergy", "MolecularHamiltonian"]
