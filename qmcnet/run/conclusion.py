"""How a run ends: its result, kept in its directory, or the one that was kept there before."""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qmcnet.compute.team import by_first
from qmcnet.report.binding import say_unbound_electron
from qmcnet.report.diffused import Diffused, extrapolated
from qmcnet.report.distance import measure
from qmcnet.report.hparams import write_hparams
from qmcnet.report.origin import origin
from qmcnet.report.reference import lookup
from qmcnet.report.result import Result
from qmcnet.report.summary import facts
from qmcnet.run.directory import is_run, typed
from qmcnet.run.driver import Driver
from qmcnet.run.identity import config_hash, identity
from qmcnet.stages.diffusion import Diffusion
from qmcnet.stages.evaluation import Evaluation
from qmcnet.stages.evaluation_settings import EvaluationSettings
from qmcnet.stages.optimization import Optimization
from qmcnet.states.slope import slope_of
from qmcnet.system.molecule import Molecule


@by_first
def finished(
    directory: Path,
    evaluation: EvaluationSettings,
    observables: Collection[str],
    steps: int,
    accuracy: float | None,
    molecule: Molecule,
) -> Result | None:
    """Read the result of a run that has nothing left to do.

    Args:
        directory: run directory, which holds this run.
        evaluation: how long to evaluate.
        observables: what is to be measured.
        steps: optimisation steps to make.
        accuracy: distance to the exact energy to be reached by them, in hartree; None for any.
        molecule: the system.

    Returns:
        The result; None if there is none, or not one of so many steps and observables and so near.
    """
    result = Result.found(directory / "result.json")
    if result is None:
        return None
    reached = (result.evaluation_steps, result.largest_error, result.typical_variance)
    enough = evaluation.met_by(*reached, slope_of(molecule))
    measured = set(observables) <= set(result.metadata["observables"])
    trained = result.trained_steps >= steps and _reached(result, accuracy)
    return result if enough and measured and trained else None


@by_first
def steps_to_make(directory: Path, steps: int, accuracy: float | None) -> int:
    """Tell how many optimisation steps a run needs at least.

    Args:
        directory: run directory.
        steps: those asked for.
        accuracy: distance to the exact energy asked for, in hartree; None for any.

    Returns:
        The steps asked for; one more than were made where those did not come so near.
    """
    result = Result.found(directory / "result.json")
    return steps if result is None or _reached(result, accuracy) else max(steps, result.trained_steps + 1)


def _reached(result: Result, accuracy: float | None) -> bool:
    """Tell whether the optimisation of a result came as near to the exact energy as was asked for."""
    distance = result.metadata.get(Optimization.name, {}).get("distance")
    return accuracy is None or (distance is not None and distance <= accuracy)


@by_first
def conclude(
    findings: Mapping[str, Mapping[str, Any]], driver: Driver, molecule: Molecule, config: Mapping[str, Any]
) -> Result:
    """Write the result of a run.

    Args:
        findings: what each stage found, by its name.
        driver: of the run.
        molecule: the system.
        config: the configuration of the run.

    Returns:
        The result; sections of stages besides the evaluation are in its metadata.
    """
    reference, folder, made = lookup(molecule), driver.directory, driver.made.get(Optimization.name, 0)
    learned, evaluated = findings.get(Optimization.name, {}), dict(findings[Evaluation.name])
    if molecule.ecp:
        evaluated["states"] = [state | {"virial_ratio": None} for state in evaluated["states"]]
    distance = None if driver.simulation.limited else measure(learned, evaluated, made, slope_of(molecule))
    sections = {name: dict(found) for name, found in findings.items() if found and name != Evaluation.name}
    result = Result(
        **evaluated,
        trained_steps=made,
        distance=distance,
        reference=asdict(reference) if reference else None,
        wall_seconds=driver.wall_seconds,
        seconds_per_step=driver.seconds_per_step.get(Optimization.name),
        metadata=origin(molecule, config, config_hash(config)) | sections,
    )
    say_unbound_electron(molecule, result.energy, result.standard_error)
    result.store(folder)
    if is_run(folder):
        metrics = {name: getattr(result, name) for name in ("energy", "standard_error", "variance")}
        chosen = {name: config[name].get("_target_") for name in ("ansatz", "optimizer")} | {"steps": made}
        write_hparams(folder, typed(folder) | facts(molecule) | identity(config) | chosen, metrics)
    return result


@by_first
def conclude_diffusion(
    findings: Mapping[str, Mapping[str, Any]],
    driver: Driver,
    molecule: Molecule,
    config: Mapping[str, Any],
    trained: Result | None,
) -> Diffused:
    """Write the result of diffusion Monte Carlo.

    Args:
        findings: what each stage found, by its name.
        driver: of the run.
        molecule: the system.
        config: the configuration of the run.
        trained: result of the run whose wavefunction guided the walkers, if there is one.

    Returns:
        The result.
    """
    reference, found = lookup(molecule), dict(findings[Diffusion.name])
    figures = (trained.energy, trained.standard_error, trained.variance) if trained else (None, None, None)
    result = Diffused(
        observables=extrapolated(found.pop("mixed"), trained.states[0] if trained and trained.states else {}),
        **found,
        variational=dict(zip(("energy", "standard_error", "variance"), figures, strict=True)),
        reference=asdict(reference) if reference else None,
        wall_seconds=driver.wall_seconds,
        metadata=origin(molecule, config, config_hash(config)),
    )
    result.store(driver.directory)
    return result
