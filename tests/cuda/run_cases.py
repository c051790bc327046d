"""Train, resume and evaluate on a CUDA device that is not there, in a process of its own.

    LD_PRELOAD=LIBRARY python run_cases.py < CASES > FINDINGS

LIBRARY is fake_device.cpp, compiled, which has to be there before torch looks for devices. Each line of CASES has the
choices of one; the answer is a line of FINDINGS with its waits, launches or an error.
"""

import contextlib
import functools
import json
import os
import sys
import tempfile
import traceback
from pathlib import Path

import torch
from echo import Echo
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from pretended import Pretence, patch_torch

import qmcnet
from qmcnet import VMC, EvaluationSettings, FermiNet, FirstOrder, Metropolis, Molecule, PretrainingSettings
from qmcnet.compute.team import Solo, standing_in
from qmcnet.operators.density import DensityGrid
from qmcnet.run import driver, vmc
from qmcnet.run.interruption import Interrupted
from qmcnet.run.intervals import LoggingSettings
from qmcnet.stages import optimization
from qmcnet.stages.burn_in import BurnInSettings
from qmcnet.stages.diffusion import Diffusion
from qmcnet.stages.diffusion_settings import DiffusionSettings
from qmcnet.stages.fetch import fetch as fetch_rows
from qmcnet.stages.simulation import Simulation

PACKAGE = f"{Path(qmcnet.__file__).parent}/"
CONF = Path(__file__).parents[2] / "conf"
STAGES = (vmc.Pretraining, vmc.BurnIn, vmc.Optimization, vmc.Evaluation, Diffusion)
SYSTEMS = {"LiH": ("Li", "H", 3.015, "bohr"), "N2": ("N", "N", 2.068, "bohr")}


@functools.cache
def member(group, name):
    """What a file of a config group makes; of networks with layers, one with a single one."""
    settings = compose(f"{group}/{name}", ["+seed=0", "+states=1"])[group]
    if "n_layers" in settings:
        settings.n_layers = 1
    return instantiate(settings, _convert_="all")


def make_ansatz(choice):
    options = {"basis": "sto-3g"} if choice["ansatz"].startswith("slater") else {}
    options |= {"n_states": choice["states"]} if choice["states"] > 1 else {}
    options |= {"complex": True} if choice["complex"] else {}
    molecule = Molecule.diatomic(*SYSTEMS["LiH"]).with_ecp({"Li": choice["ecp"]})
    return member("ansatz", choice["ansatz"])(molecule, **options)


def make_parts(choice):
    one = choice["n_blocks"] == 1
    beside_the_group = {"sgd": functools.partial(FirstOrder, method=torch.optim.SGD)}
    return {
        "optimizer": beside_the_group.get(choice["optimizer"]) or member("optimizer", choice["optimizer"]),
        "objective": type(member("objective", choice["objective"]))(spin_penalty=choice["spin_penalty"]),
        "observables": choice["observables"],
        "sampler": Metropolis(steps=1, n_blocks=choice["n_blocks"], **({"local": True, "jumps": 0.5} if one else {})),
        "clipping": member("clipping", choice["clipping"]),
        "averaging": member("averaging", choice["averaging"]),
        "steps": 2,
        "wall_time": 1e-9 if choice["stopped"] else None,
        "pretraining": PretrainingSettings(steps=2, basis="sto-3g"),
        "burn_in": BurnInSettings(min_sweeps=2, max_sweeps=2),
        "evaluation": EvaluationSettings(steps=2, burn_in=1, target_error=1e-9, min_steps=2),
        "logging": LoggingSettings(every=2),
        "batch_size": 9,
        "device": "cuda",
    }


@contextlib.contextmanager
def phases(watch):
    """Tell apart what happens at every step from what happens now and then."""
    places = [
        *((stage, "advance", f"{stage.name} step") for stage in STAGES),
        (driver.Driver, "run", "loop"),
        (driver, "fetch", "fetch"),
        (Simulation, "finite", "finite"),
        (optimization, "expectations", "observe"),
        (driver.Driver, "save", "checkpoint"),
        (driver.Driver, "restore", "restore"),
        (vmc, "conclude", "conclude"),
        (Diffusion, "conclude", "dmc conclude"),
    ]
    before = [getattr(owner, name) for owner, name, _ in places]
    for (owner, name, phase), function in zip(places, before, strict=True):
        setattr(owner, name, watch.as_phase(phase, function))
    try:
        yield
    finally:
        for (owner, name, _), function in zip(places, before, strict=True):
            setattr(owner, name, function)


def run(choice):
    """Train and evaluate, or do so stopped after every step, saved, built anew and continued from the file."""
    ansatz, parts, watch = make_ansatz(choice), make_parts(choice), Pretence(PACKAGE)
    team = Echo(choice["devices"]) if choice["devices"] > 1 else Solo()
    works = [lambda made: made.train()]
    if choice["states"] == 1 and not choice["complex"] and not choice["stopped"]:
        works.append(lambda made: made.diffuse(DiffusionSettings((0.05,), target_error=None, steps=10)))
    with tempfile.TemporaryDirectory() as folder, standing_in(team), phases(watch), watch:
        for work in works:
            for _ in range(20):
                with contextlib.suppress(Interrupted):
                    work(VMC(ansatz, folder, **parts))
                    break
    return {"waits": [[*where, count] for where, count in sorted(watch.waits.items())], "calls": watch.calls}


def count_launches(choice):
    """Evaluate one local energy of a large network."""
    ansatz, watch = FermiNet(Molecule.diatomic(*SYSTEMS[choice["system"]])), Pretence(PACKAGE, numbers=False)
    with tempfile.TemporaryDirectory() as folder, watch:
        simulation = VMC(ansatz, folder, batch_size=choice["walkers"], device="cuda").simulation
        for _ in range(2):  # the first one learns about the function
            before = watch.launches
            simulation.hamiltonian(simulation.states())
    return {"launches": watch.launches - before}


def fetch(choice):
    """Fetch rows of which a part never was on the device."""
    watch = Pretence(PACKAGE)
    with watch:
        row = {"energy": torch.zeros((), device="cuda", dtype=torch.float64), "lifted": torch.zeros((), device="cuda")}
        row |= {"state": torch.zeros(2, 2, device="cuda"), "momentum": torch.zeros(()), "learning_rate": 0.1}
        before = watch.launches
        fetch_rows([row] * choice["rows"])
    return {"waits": [[*where, count] for where, count in watch.waits.items()], "launches": watch.launches - before}


KINDS = {"walkers": count_launches, "rows": fetch, "optimizer": run}


def attempt(choice):
    try:
        return next(function for key, function in KINDS.items() if key in choice)(choice)
    except Exception:
        return {"error": traceback.format_exc()}


def main():
    patch_torch()
    os.fsync = int  # nothing that is written here has to outlive the process
    DensityGrid.around = functools.partial(DensityGrid.around, spacing=2.0)  # cube files are long
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a run prints does not belong to the findings
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for line in sys.stdin:
            print(json.dumps(attempt(json.loads(line))), file=out, flush=True)


if __name__ == "__main__":
    main()
