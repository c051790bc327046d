"""Wavefunctions: modules that map electron positions to (sign, log_abs_psi)."""

from qmcnet.ansatz.ferminet import FermiNet
from qmcnet.ansatz.lapnet import LapNet
from qmcnet.ansatz.psiformer import Psiformer
from qmcnet.ansatz.slater_jastrow import SlaterJastrow

__all__ = ["FermiNet", "LapNet", "Psiformer", "SlaterJastrow"]
