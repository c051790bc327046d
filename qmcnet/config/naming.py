"""Where the configuration lies, and how runs and arguments are called."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from qmcnet.run.identity import in_identity

LONGEST_NAME = 100
HOW_FAR = ("frequencies", "max_force", "geometries")
FOLDERS = {"burn_in": "equilibration"}  # `burn_in` is a plain key of qmcnet-evaluate, so its folder has another name


def config_directory() -> Path:
    """Where the YAML files are."""
    return Path(__file__).parents[1] / "conf"


def folder(group: str) -> Path:
    """Find the files of a group.

    Args:
        group: its key in a configuration.

    Returns:
        Their folder, which need not exist.
    """
    return config_directory() / FOLDERS.get(group, group)


def systems() -> list[str]:
    """Names that +system=NAME accepts."""
    return sorted(path.stem for path in (config_directory() / "system").glob("*.yaml"))


def run_name(overrides: Sequence[str]) -> str:
    """Name a run after its overrides, so that the same command finds the same directory.

    Overrides that say how long and where a run goes take no part.

    Args:
        overrides: overrides of the command line, such as ['+system=N2', 'bond_length=2.4'].

    Returns:
        A directory name, such as 'N2_bond_length=2.4'.
    """
    parts = []
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if match := re.fullmatch(r"'(.*)'", value, re.DOTALL):  # as names of files are handed to Hydra
            value = re.sub(r"\\(['\\])", r"\1", match[1])
        if in_identity(key):
            parts.append((key != "system", value if key == "system" else f"{key}={value}"))
    exact = "_".join(text for _, text in sorted(parts)) or "run"
    name = re.sub(r"[^\w.=+,-]", "-", exact)[:LONGEST_NAME]
    return name if name == exact else f"{name}-{hashlib.sha256(exact.encode()).hexdigest()[:8]}"


def relaxation_name(overrides: Sequence[str]) -> str:
    """Name a relaxation after its overrides but for those that say how far it goes.

    Args:
        overrides: overrides of the command line.

    Returns:
        A directory name, such as 'relax_N2_bond_length=2.4'.
    """
    kept = [text for text in overrides if text.lstrip("+~").partition("=")[0] not in HOW_FAR]
    return f"relax_{run_name(kept)}"


def register_resolvers() -> None:
    """Make the names of directories available to the configuration files."""
    OmegaConf.register_new_resolver("run_name", run_name, replace=True)
    OmegaConf.register_new_resolver("relaxation_name", relaxation_name, replace=True)
