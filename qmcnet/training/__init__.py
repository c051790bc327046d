"""Runs: the stages of a calculation, their checkpoints and their output."""
