"""How a network goes to another geometry: carried along by the space warp, or with its parameters as they are.

What a network was trained for a long time to know of its nuclei misleads it elsewhere, and it is better carried. One
that was trained for less, and still is what pretraining on orbitals about the nuclei made of it, may be better as it
is. Local energies tell: those of a state do not scatter.
"""

import torch
from torch import Tensor

from qmcnet.ansatz.frame import Frame
from qmcnet.stages.simulation import Simulation

SWEEPS = 5
"""Sweeps of the walkers before local energies are looked at."""


def carry(frame: Frame, simulation: Simulation, positions: Tensor, seen: Tensor, before: Tensor) -> None:
    """Choose the geometry at which a network sees its electrons.

    Args:
        frame: that of the network; changed.
        simulation: wavefunction and walkers; afterwards the walkers are at the positions given.
        positions: of the electrons at the nuclei of this run, shape (B, S N, 3), in bohr.
        seen: where the other network saw its nuclei, shape (A, 3), in bohr.
        before: where they were, shape (A, 3), in bohr.
    """
    nuclei = simulation.molecule.nuclei
    if torch.equal(before, nuclei):
        return frame.carry(seen, nuclei)
    spreads = {}
    for place in (seen + nuclei - before, seen):
        frame.carry(place, nuclei)
        simulation.walkers = simulation.sampler.start(positions)
        spreads[_spread(simulation)] = frame.nuclei
    frame.nuclei = spreads[min(spreads)]
    simulation.walkers = simulation.sampler.start(positions)


def _spread(simulation: Simulation) -> float:
    """Measure how much local energies scatter, in hartree, by their mean deviation from the median."""
    for _ in range(SWEEPS):
        simulation.sweep(adapt=False)
    with torch.no_grad():
        total = simulation.local_energy(simulation.states()).total.real
    return float((total - total.median()).abs().mean().nan_to_num(torch.inf))
