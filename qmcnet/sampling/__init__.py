"""Sampling of walkers from a log-probability."""

from qmcnet.sampling.initialization import initial_positions
from qmcnet.sampling.metropolis import Metropolis, equilibrated
from qmcnet.sampling.walkers import Walkers

__all__ = ["Metropolis", "Walkers", "equilibrated", "initial_positions"]
