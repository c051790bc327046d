"""Which optimiser reaches chemical accuracy first, in steps and in seconds?

Every optimiser starts from the same pretrained wavefunction and walkers. First its learning rate is chosen among five,
by the energy after the same number of steps for each, evaluated with frozen parameters. Then all of them advance in
turn, step by step, so that they share whatever else the machine does, each with a clock of its own; every few steps
the energy is evaluated with frozen parameters. Learning rates found earlier in DIR are used again; --seeds 0 only
finds them. On a CPU a small FermiNet on LiH and Be, with CUDA the 4-layer FermiNet
on C, O and N2. Writes the trials and the curves as CSV and a PNG for each system.

    python benchmarks/convergence.py [--systems LiH Be] [--optimizers KFAC Adam] [--steps 600] [--output DIR]
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import machine, print_table, store, system
from figures import averaged, plot, read_csv, summary, write_csv
from pytorch_optimizer import Lamb

from qmcnet import FermiNet, ForwardLaplacian, Metropolis, MolecularHamiltonian, NaturalStates, PretrainingSettings
from qmcnet.compute.process import prepare_process
from qmcnet.optimizers import Clipping, FirstOrder, Kfac, Schedule, Spring
from qmcnet.report.reference import lookup
from qmcnet.stages.burn_in import BurnIn, BurnInSettings
from qmcnet.stages.evaluation import Evaluation
from qmcnet.stages.evaluation_settings import EvaluationSettings
from qmcnet.stages.optimization import Optimization
from qmcnet.stages.pretraining import Pretraining
from qmcnet.stages.simulation import Simulation
from qmcnet.statistics.window import choose_window


@dataclass(frozen=True)
class Protocol:
    """What all optimisers share.

    Attributes:
        systems: names of systems.
        network: sizes of the FermiNet.
        walkers: their number.
        pretraining: steps.
        decay_steps: of the learning rate.
        clip: width of the clipping window.
        constraint: norm constraint of SPRING and its relatives.
    """

    systems: tuple[str, ...]
    network: dict[str, Any]
    walkers: int
    pretraining: int
    decay_steps: float
    clip: float
    constraint: float


SMALL = {"n_layers": 2, "hidden_one": 48, "hidden_two": 12, "n_determinants": 4, "jastrow": "cusp"}
PROTOCOLS = {
    "cpu": Protocol(("LiH", "Be"), SMALL, 512, 300, 1000, 10.0, 1e-2),
    "cuda": Protocol(("C", "O", "N2"), {}, 1000, 300, 10_000, 5.0, 1e-3),
}
Maker = Callable[..., Any]


def contestants(constraint: float) -> dict[str, tuple[Maker, tuple[float, ...]]]:
    """List the optimisers, each with five learning rates.

    Args:
        constraint: norm constraint of SPRING and its relatives.

    Returns:
        What makes an optimiser of an ansatz and a learning rate, and the rates.
    """
    spring = partial(Spring, norm_constraint=constraint)
    return {
        "SPRING 0.99": (partial(spring, momentum=0.99), (0.005, 0.01, 0.02, 0.05, 0.1)),
        "SPRING 0.95": (partial(spring, momentum=0.95), (0.02, 0.05, 0.1, 0.2, 0.4)),
        "SPRING 0.9": (partial(spring, momentum=0.9), (0.02, 0.05, 0.1, 0.2, 0.4)),
        "MinSR": (partial(spring, momentum=0.0), (0.02, 0.05, 0.1, 0.2, 0.4)),
        "PRIME-SR": (partial(spring, momentum=None), (0.02, 0.05, 0.1, 0.2, 0.4)),
        "KFAC": (Kfac, (0.01, 0.02, 0.05, 0.1, 0.2)),
        "Adam": (FirstOrder, (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)),
        "LAMB": (partial(FirstOrder, method=Lamb), (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)),
    }


def prepared(name: str, seed: int, protocol: Protocol, device: torch.device) -> dict[str, Any]:
    """Pretrain and equilibrate once for all optimisers.

    Args:
        name: system.
        seed: of weights and walkers.
        protocol: sizes.
        device: where to compute.

    Returns:
        State of the simulation.
    """
    simulation = fresh(name, seed, protocol, device)
    for stage in (
        Pretraining.prepare(simulation, PretrainingSettings(steps=protocol.pretraining, learning_rate=3e-3), seed),
        BurnIn(simulation, BurnInSettings()),
    ):
        while not stage.finished():
            stage.advance()
    return simulation.state_dict()


def fresh(name: str, seed: int, protocol: Protocol, device: torch.device) -> Simulation:
    """Start a simulation with random weights.

    Args:
        name: system.
        seed: of weights and walkers.
        protocol: sizes.
        device: where to compute.

    Returns:
        The simulation.
    """
    molecule = system(name)
    ensemble = NaturalStates(FermiNet(molecule, **protocol.network, seed=seed))
    how = MolecularHamiltonian(molecule), ForwardLaplacian(), Metropolis()
    return Simulation.start(ensemble, *how, protocol.walkers, seed, device)


@dataclass
class Contestant:
    """One optimiser at work, with its own clock.

    Attributes:
        name: of the optimiser.
        rate: learning rate.
        stage: advances it.
        seconds: spent in its steps.
        curve: evaluated energies.
    """

    name: str
    rate: float
    stage: Optimization
    seconds: float = 0.0
    curve: list[dict[str, Any]] = field(default_factory=list)

    def advance(self) -> None:
        """Make one step by the clock."""
        start = time.perf_counter()
        self.stage.advance()
        if self.stage.simulation.walkers.positions.is_cuda:
            torch.cuda.synchronize()
        self.seconds += time.perf_counter() - start

    def evaluate(self, steps: int) -> dict[str, Any]:
        """Evaluate with frozen parameters, off the clock and without touching the walkers of the training.

        Args:
            steps: of the evaluation.

        Returns:
            A point of the curve.
        """
        simulation = self.stage.simulation
        walkers, generator = simulation.walkers, simulation.generator.get_state()
        evaluation = Evaluation(simulation, EvaluationSettings(steps=steps, burn_in=5))
        while not evaluation.finished():
            evaluation.advance()
        simulation.walkers = walkers
        simulation.generator.set_state(generator)
        result = choose_window(evaluation.averages).total
        point = {"step": self.stage.step, "seconds": self.seconds, "energy": result.mean}
        self.curve.append(point | {"standard_error": result.standard_error, "variance": result.variance})
        return self.curve[-1]


def enter(name: str, rate: float, maker: Maker, simulation: Simulation, protocol: Protocol) -> Contestant:
    """Let an optimiser take part.

    Args:
        name: of the optimiser.
        rate: learning rate.
        maker: makes it.
        simulation: its own.
        protocol: what all share.

    Returns:
        The contestant.
    """
    optimizer = maker(simulation.ensemble, learning_rate=rate)
    schedule, clipping = Schedule(decay_steps=protocol.decay_steps), Clipping(protocol.clip)
    return Contestant(name, rate, Optimization(simulation, optimizer, 10**9, clipping, schedule))


def tune(
    name: str, state: Mapping[str, Any], protocol: Protocol, device: torch.device, steps: int
) -> list[dict[str, Any]]:
    """Try five learning rates for each optimiser.

    Args:
        name: system.
        state: where all start.
        protocol: what all share.
        device: where to compute.
        steps: of each trial.

    Returns:
        One row a trial.
    """
    rows = []
    for label, (maker, rates) in contestants(protocol.constraint).items():
        for rate in rates:
            simulation = fresh(name, 0, protocol, device)
            simulation.load_state_dict(dict(state))
            contestant = enter(label, rate, maker, simulation, protocol)
            for _ in range(steps):
                contestant.advance()
            rows.append({"system": name, "optimizer": label, "learning_rate": rate, **contestant.evaluate(200)})
            print(rows[-1], flush=True)
    return rows


def best_rates(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Choose the learning rate with the lowest energy for each optimiser.

    Args:
        rows: the trials; a failed one has no finite energy.

    Returns:
        Rates by optimiser.
    """
    best: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        if row["energy"] < best.get(row["optimizer"], {"energy": float("inf")})["energy"]:
            best[row["optimizer"]] = row
    return {label: row["learning_rate"] for label, row in best.items()}


def race(
    name: str, seed: int, rates: Mapping[str, float], protocol: Protocol, device: torch.device, steps: int
) -> list[dict[str, Any]]:
    """Let all optimisers advance in turn.

    Args:
        name: system.
        seed: of weights and walkers.
        rates: learning rates.
        protocol: what all share.
        device: where to compute.
        steps: of each.

    Returns:
        Points of all curves.
    """
    state = prepared(name, seed, protocol, device)
    racers: list[Contestant] = []
    for label, (maker, _) in contestants(protocol.constraint).items():
        if label not in rates:
            continue
        simulation = fresh(name, seed, protocol, device)
        simulation.load_state_dict(state)
        racers.append(enter(label, rates[label], maker, simulation, protocol))
    for step in range(1, steps + 1):
        for contestant in racers:
            contestant.advance()
            if step % max(1, steps // 10) == 0:
                contestant.evaluate(100)
    return [
        {"system": name, "optimizer": c.name, "learning_rate": c.rate, "seed": seed, **point}
        for c in racers
        for point in c.curve
    ]


def main() -> None:
    """Read the arguments, tune, race, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+")
    parser.add_argument("--optimizers", nargs="+", help="only these race, such as 'SPRING 0.9'")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--tuning-steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=tuple(PROTOCOLS), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--output", type=Path, default=Path("convergence"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    prepare_process()
    arguments.output.mkdir(parents=True, exist_ok=True)
    protocol, device = PROTOCOLS[arguments.device], torch.device(arguments.device)
    for name in arguments.systems or protocol.systems:
        folder = arguments.output / name
        tuning = folder.with_suffix(".tuning.csv")
        if not tuning.exists():
            state = prepared(name, 0, protocol, device)
            write_csv(tuning, tune(name, state, protocol, device, arguments.tuning_steps))
        rates, points = best_rates(read_csv(tuning)), []
        if arguments.optimizers:
            rates = {label: rates[label] for label in arguments.optimizers}
        for seed in range(1, arguments.seeds + 1):
            points += race(name, seed, rates, protocol, device, arguments.steps)
            write_csv(folder.with_suffix(".csv"), points)
        if not points:
            continue
        reference = lookup(system(name))
        assert reference is not None
        curves = averaged(points, reference.energy)
        plot(folder.with_suffix(".png"), name, curves)
        rows = summary(name, curves, rates)
        print_table(rows)
        store(folder.with_suffix(".json"), summary=rows, machine=machine())


if __name__ == "__main__":
    main()
