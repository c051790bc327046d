"""Where a run starts that takes over the trained wavefunction and the walkers of another one.

The directory of the other run is only read, and nothing that it names is imported or executed. Its network is not
built: its settings and parameters are enough.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qmcnet.ansatz.frame import Frame
from qmcnet.ansatz.growth import grown
from qmcnet.compute.streams import stream
from qmcnet.compute.team import by_first
from qmcnet.report.origin import geometry
from qmcnet.run.carried import carry
from qmcnet.run.checkpoint import Checkpoint, Checkpoints, DamagedCheckpoint, check_fits, read, stage_and_step
from qmcnet.run.description import describe, molecule_of, public_name
from qmcnet.run.directory import RunDirectoryError, is_used, read_config
from qmcnet.run.identity import config_hash
from qmcnet.sampling.space_warp import space_warp
from qmcnet.stages.evaluation import Evaluation
from qmcnet.stages.optimization import Optimization
from qmcnet.stages.simulation import Simulation
from qmcnet.system.molecule import Molecule

logger = logging.getLogger(__name__)

SEEN = "frame.nuclei"
"""Name of the geometry at which a network sees electrons, among its parameters."""


@dataclass(frozen=True)
class Source:
    """A trained run, as far as another one starts from it.

    Attributes:
        directory: as it was typed.
        molecule: its system.
        settings: of its network, by name, with the `_target_` that makes it.
        parameters: of its network, by name, and buffers among them.
        seen: nuclear positions at which its network sees electrons, shape (A, 3), in bohr.
        average: average of the parameters, without names, that it would be evaluated with; none where it has none.
        positions: of its electrons, shape (B, S N, 3), in bohr.
        trained_steps: optimisation steps that it has made.
        config_hash: of its configuration.
    """

    directory: str
    molecule: Molecule
    settings: Mapping[str, Any]
    parameters: Mapping[str, Tensor]
    seen: Tensor
    average: list[Tensor]
    positions: Tensor
    trained_steps: int
    config_hash: str


def check_source(directory: str, own: Path, resume: bool, simulation: Simulation) -> None:
    """Refuse what a run cannot start from, before it starts; one that goes on by itself needs no other any more.

    Args:
        directory: that of the other run, as it was typed.
        own: that of this run.
        resume: whether this run continues one that is there.
        simulation: wavefunction and walkers of this run.

    Raises:
        RunDirectoryError: if there is no other trained run, or none that this one can start from.
    """
    if Path(directory).resolve() == own.resolve():
        raise RunDirectoryError(f"init_from={directory} is the directory of this run itself: name that of another run")
    if not (resume and by_first(is_used)(own)):
        _parameters(_read(directory), simulation, seed=0)


def begin_from(directory: str, simulation: Simulation, seed: int) -> dict[str, Any]:
    """Take over parameters and walkers of another run.

    Args:
        directory: that of the other run, as it was typed.
        simulation: wavefunction and walkers of this run; changed.
        seed: its seed.

    Returns:
        Where they come from, for the result.
    """
    source = _read(directory)
    network = simulation.ensemble.network
    network.load_state_dict(_parameters(source, simulation, seed))
    simulation.walkers = simulation.sampler.start(_positions(source, simulation))
    frame, carried = getattr(network, "frame", None), False
    if isinstance(frame, Frame):
        carried = carry(frame, simulation, source.seen, source.molecule.nuclei)
    where = f"{source.molecule.formula}, {source.trained_steps} steps trained"
    logger.info("starting from %s (%s), without pretraining", directory, where)
    return {
        "directory": directory,
        "formula": source.molecule.formula,
        "geometry": geometry(source.molecule),
        "carried": carried,
        "trained_steps": source.trained_steps,
        "config_hash": source.config_hash,
    }


def _parameters(source: Source, simulation: Simulation, seed: int) -> dict[str, Tensor]:
    """Find the parameters of the network of this run."""
    network, generator = simulation.ensemble.network, torch.Generator().manual_seed(stream(seed, "init_from"))
    moved = source.molecule.coordinates != simulation.molecule.coordinates
    try:
        check_alike(source, simulation)
        parameters = _averaged(source, {name for name, _ in network.named_buffers()})
        return grown(network, source.settings, parameters, moved, generator)
    except ValueError as error:
        raise RunDirectoryError(f"init_from={source.directory} cannot start this run: {error}") from error


def check_alike(source: Source, simulation: Simulation) -> None:
    """Refuse another molecule, network or number of states.

    Args:
        source: the other run.
        simulation: of this run.

    Raises:
        ValueError: saying what differs.
    """
    there, here = source.molecule, simulation.molecule
    if any(getattr(there, name) != getattr(here, name) for name in ("symbols", "charge", "spin", "ecp")):
        systems = [f"{'-'.join(one.symbols)} (charge {one.charge}, spin {one.spin})" for one in (there, here)]
        raise ValueError(
            f"its system is {systems[0]} and that of this run {systems[1]}: only the geometry may differ, "
            "not the elements, their order, charge, spin or core potentials"
        )
    kinds = [public_name(str(source.settings.get("_target_"))), describe(simulation.ensemble.network)["_target_"]]
    if kinds[0] != kinds[1]:
        raise ValueError(f"its ansatz is {kinds[0]} and that of this run {kinds[1]}: the same is needed")
    if (found := source.positions.shape[1:]) != (wanted := simulation.walkers.positions.shape[1:]):
        n_electrons = here.n_electrons
        raise ValueError(
            f"states={wanted[0] // n_electrons} in this run and {found[0] // n_electrons} there: the same is needed"
        )


@by_first
def _read(directory: str) -> Source:
    """Read what is needed of a run."""
    if not Path(directory).is_dir():
        what = "is a file" if Path(directory).exists() else "does not exist"
        raise RunDirectoryError(f"init_from={directory} {what}: name the directory of a trained run")
    try:
        config = read_config(Path(directory))
    except RunDirectoryError as error:
        raise RunDirectoryError(f"init_from={error}") from error
    found = _newest(directory)
    state, settings = found.state["simulation"], config["ansatz"]
    try:
        molecule = molecule_of(config)
        average: dict[str, Any] = (
            found.state["stage_state"]["average"] if found.stage == Optimization.name else {"count": 0}
        )
        parameters = {name.removeprefix("network."): value for name, value in state["ansatz"].items()}
        seen = parameters.pop(SEEN, molecule.nuclei)
        return Source(
            directory,
            molecule,
            dict(settings),
            parameters,
            seen,
            average["values"] if average["count"] else [],
            state["walkers"]["positions"],
            found.made.get(Optimization.name, 0),
            config_hash(config),
        )
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise RunDirectoryError(f"init_from={directory} is damaged ({error!r})") from error


def _newest(directory: str) -> Checkpoint:
    """Read the newest whole checkpoint of a trained wavefunction; damaged ones stay where they are."""
    for path in reversed(Checkpoints(Path(directory, "checkpoints"), 1).paths()):
        stage, _ = stage_and_step(path)
        if stage not in (Optimization.name, Evaluation.name):
            continue
        try:
            state = read(path)
            check_fits(state, state.get("simulation", {}))
            return Checkpoint(path, stage, state)
        except (DamagedCheckpoint, LookupError, TypeError, AttributeError) as damage:
            logger.warning("checkpoint %s is damaged: %s; looking for the one before it", path, damage)
    raise RunDirectoryError(f"init_from={directory} holds no trained wavefunction: train it first")


def _averaged(source: Source, buffers: set[str]) -> dict[str, Tensor]:
    """Take the averaged parameters where there are any; a state lists parameters in the same order as an average."""
    if not source.average:
        return dict(source.parameters)
    names = [name for name in source.parameters if name not in buffers]
    if [source.parameters[name].shape for name in names] != [value.shape for value in source.average]:
        raise ValueError("the average of its parameters does not fit them: let it finish first")
    return dict(source.parameters) | dict(zip(names, source.average, strict=True))


def _positions(source: Source, simulation: Simulation) -> Tensor:
    """Move walkers with the nuclei; of too many the first are taken, and too few are taken again and again."""
    own = simulation.walkers.positions
    chosen = source.positions[torch.arange(len(own)) % len(source.positions)].double()
    molecule = simulation.molecule
    return space_warp(chosen, source.molecule.nuclei, molecule.nuclei, molecule.charges).to(own)
