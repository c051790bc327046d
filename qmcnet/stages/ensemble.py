"""What a run of several states computes with instead of one wavefunction and its Hamiltonian."""

from torch import nn

from qmcnet.operators import MolecularHamiltonian, StatesHamiltonian
from qmcnet.protocols import LaplacianBackend
from qmcnet.stages.objective import Natural, Objective
from qmcnet.stages.simulation import Hamiltonian
from qmcnet.system.molecule import Molecule


def ensemble(
    network: nn.Module, laplacian: LaplacianBackend, objective: Objective = Natural()
) -> tuple[nn.Module, Hamiltonian]:
    """Choose what is sampled and optimised, and its Hamiltonian.

    Args:
        network: wavefunction of one state or several, with `molecule` and `settings`.
        laplacian: back end that differentiates it.
        objective: what is minimised.

    Returns:
        The network itself and the molecular Hamiltonian, or of several states their ensemble and its Hamiltonian.
    """
    molecule: Molecule = network.molecule  # type: ignore[assignment]
    total = objective.ensemble(network)
    return total, (MolecularHamiltonian if total is network else StatesHamiltonian)(molecule, laplacian)
