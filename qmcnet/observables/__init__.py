"""Estimators: QMC statistics and reference values."""
