"""Hydra configuration, installed as `qmcnet.conf`."""
