"""What a run of several states computes with instead of one wavefunction and its Hamiltonian."""

from torch import nn

from qmcnet.ansatz.natural_states import NaturalStates
from qmcnet.hamiltonian import MolecularHamiltonian, StatesHamiltonian
from qmcnet.molecule import Molecule
from qmcnet.protocols import LaplacianBackend
from qmcnet.training.simulation import Hamiltonian


def ensemble(network: nn.Module, laplacian: LaplacianBackend) -> tuple[nn.Module, Hamiltonian]:
    """Choose what is sampled and optimised, and its Hamiltonian.

    Args:
        network: wavefunction of one state or several, with `molecule` and `settings`.
        laplacian: back end that differentiates it.

    Returns:
        The network itself and the molecular Hamiltonian, or of several states their total ansatz and its Hamiltonian.
    """
    molecule: Molecule = network.molecule  # type: ignore[assignment]
    if network.settings.get("n_states", 1) == 1:  # type: ignore[union-attr,operator]
        return network, MolecularHamiltonian(molecule, laplacian)
    return NaturalStates(network), StatesHamiltonian(molecule, laplacian)
