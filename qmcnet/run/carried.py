"""How a network goes to another geometry: carried along by the space warp, or with its parameters as they are.

What a network was trained for a long time to know of its nuclei misleads it elsewhere, and it is better carried. One
that was trained for less, and still is what pretraining on orbitals about the nuclei made of it, may be better as it
is. Local energies tell: those of a state do not scatter.
"""

from dataclasses import replace

import torch
from torch import Tensor

from qmcnet.ansatz.frame import Frame
from qmcnet.laplacian import ForwardLaplacian
from qmcnet.stages.simulation import Simulation

SWEEPS = 5
"""Sweeps of the walkers before local energies are looked at."""


def carry(frame: Frame, simulation: Simulation, seen: Tensor, before: Tensor) -> bool:
    """Choose the geometry at which a network sees its electrons.

    Args:
        frame: that of the network; changed.
        simulation: wavefunction and walkers, these where they start.
        seen: where the other network saw its nuclei, shape (A, 3), in bohr.
        before: where they were, shape (A, 3), in bohr.

    Returns:
        Whether the network is carried from there to here.
    """
    nuclei = simulation.molecule.nuclei
    frame.carry(seen + (nuclei - before), nuclei)
    if torch.equal(before, nuclei):
        return False
    as_it_is, of_it = frame.nuclei, spread(simulation)
    frame.carry(seen, nuclei)
    carried = spread(simulation) < of_it
    if not carried:
        frame.nuclei = as_it_is
    return carried


def spread(simulation: Simulation) -> float:
    """Measure how much local energies scatter after some sweeps, which the simulation does not see.

    Args:
        simulation: wavefunction and walkers. Nothing is compiled, as what is compiled keeps the geometry of its trace.

    Returns:
        Mean deviation from the median, in hartree; infinite if an energy is not finite.
    """
    trial = replace(simulation, laplacian=ForwardLaplacian(), compile=False)
    for _ in range(SWEEPS):
        trial.sweep(adapt=False)
    with torch.no_grad():
        total = trial.local_energy(trial.states()).total.real
    return float((total - total.median()).abs().mean().nan_to_num(torch.inf))
