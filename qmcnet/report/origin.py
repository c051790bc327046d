"""Where numbers come from: geometry, versions, machine."""

import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from qmcnet.compute.kernels import library, model_name
from qmcnet.system.molecule import Molecule
from qmcnet.system.units import BOHR_PER_ANGSTROM


def origin(molecule: Molecule, config: Mapping[str, Any], config_hash: str) -> dict[str, Any]:
    """Say where a result comes from.

    Args:
        molecule: the system.
        config: the configuration of the run.
        config_hash: hash of the part of it that decides the numbers.

    Returns:
        System, geometry, seed, device, precision, kernels, versions, and the hash of the configuration.
    """
    return {
        "formula": molecule.formula,
        "charge": molecule.charge,
        "spin": molecule.spin,
        "geometry": geometry(molecule),
        "ecp": {symbol: asdict(ecp) for symbol, ecp in molecule.ecp},
        "seed": config["seed"],
        "device": config["device"],
        "precision": config["dtype"],
        "cpu_kernels": library(),
        "threads": torch.get_num_threads(),
        "processor": model_name(),
        "batch_size": config["batch_size"],
        "observables": config["observables"],
        "versions": versions(),
        "config_hash": config_hash,
    }


def geometry(molecule: Molecule) -> dict[str, Any]:
    """Geometry in both units.

    Args:
        molecule: the system.

    Returns:
        Symbols and coordinates in bohr and in angstrom.
    """
    angstrom = [[x / BOHR_PER_ANGSTROM for x in row] for row in molecule.coordinates]
    bohr = [list(row) for row in molecule.coordinates]
    return {"symbols": list(molecule.symbols), "bohr": bohr, "angstrom": angstrom}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that the numbers depend on."""
    found = {"python": platform.python_version()}
    for package in ("qmcnet", "torch", "numpy", "pyscf"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
