"""Optimisers of the variational energy."""

from qmcnet.optimizers.averaging import AveragingSettings
from qmcnet.optimizers.clipping import Clipping
from qmcnet.optimizers.first_order import FirstOrder
from qmcnet.optimizers.kfac import Kfac
from qmcnet.optimizers.schedules import Schedule
from qmcnet.optimizers.spring import Spring

__all__ = ["AveragingSettings", "Clipping", "FirstOrder", "Kfac", "Schedule", "Spring"]
