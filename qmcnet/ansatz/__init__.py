"""Wavefunctions: modules that map electron positions to (sign, log_abs_psi)."""

from qmcnet.ansatz.ferminet import FermiNet

__all__ = ["FermiNet"]
