"""Optimisers of the variational energy."""

from qmcnet.optimizers.first_order import FirstOrder
from qmcnet.optimizers.spring import Spring

__all__ = ["FirstOrder", "Spring"]
