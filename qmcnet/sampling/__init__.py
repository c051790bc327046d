"""Sampling of walkers from a log-probability."""

from qmcnet.sampling.initialization import initial_positions
from qmcnet.sampling.metropolis import Metropolis
from qmcnet.sampling.walkers import Walkers

__all__ = ["Metropolis", "Walkers", "initial_positions"]
