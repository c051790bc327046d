"""Estimators: QMC statistics, reference values, and operators evaluated on one or several states."""
