"""What is said of a run before it starts, and of its molecule in a table."""

from pathlib import Path

import torch
from torch import nn

from qmcnet.compute.kernels import library
from qmcnet.system.molecule import Molecule


def summary(ansatz: nn.Module, n_states: int, batch_size: int, device: torch.device, directory: Path) -> str:
    """Say with what a run computes.

    Args:
        ansatz: the wavefunction.
        n_states: number of its states.
        batch_size: number of walkers.
        device: where it computes.
        directory: the run directory.

    Returns:
        A few lines.
    """
    n_parameters = sum(parameter.numel() for parameter in ansatz.parameters())
    on_gpu = device.type == "cuda"
    where = (
        torch.cuda.get_device_name(device) if on_gpu else f"{torch.get_num_threads()} threads, products by {library()}"
    )
    return "\n".join(
        [
            f"ansatz           {type(ansatz).__name__}, states: {n_states}, parameters: {n_parameters}",
            f"walkers          {batch_size}",
            f"device           {device} ({where}), {next(ansatz.parameters()).dtype}, torch {torch.__version__}, "
            f"matmul precision {torch.get_float32_matmul_precision()}",
            f"directory        {directory}",
        ]
    )


def facts(molecule: Molecule) -> dict[str, str | float]:
    """Say in a few cells of a table which molecule it is, whatever way it was given.

    Args:
        molecule: the system.

    Returns:
        Its formula, charge, spin and, of several nuclei, the shortest distance between two, in bohr.
    """
    distances = torch.pdist(molecule.nuclei)
    shortest = {"shortest_distance": float(distances.min())} if len(distances) else {}
    return {"formula": molecule.formula, "charge": molecule.charge, "spin": molecule.spin, **shortest}
