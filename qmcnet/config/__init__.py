"""From a configuration to a run. Only this room and the command line know Hydra and OmegaConf."""
