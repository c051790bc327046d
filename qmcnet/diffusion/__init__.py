"""Diffusion Monte Carlo: walkers that a wavefunction guides to the lowest state with its nodes."""

from qmcnet.diffusion.branching import Branching
from qmcnet.diffusion.comb import comb
from qmcnet.diffusion.guide import Guide, Guided
from qmcnet.diffusion.moves import DriftDiffusion, Move, OneByOne
from qmcnet.diffusion.population import Generation, Population
from qmcnet.diffusion.t_moves import TMoves

__all__ = [
    "Branching",
    "DriftDiffusion",
    "Generation",
    "Guide",
    "Guided",
    "Move",
    "OneByOne",
    "Population",
    "TMoves",
    "comb",
]
