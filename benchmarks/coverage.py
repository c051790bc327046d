"""Do error bars cover what they promise, and are stationary series accepted and others refused?

`series`: simulated chains of known mean and autocorrelation, in time bins as in an evaluation. `slow` is the share of
the variance in a second mode of autocorrelation time tau_slow; heavy-tailed chains have the moments of Student's
distribution with three degrees of freedom, whose variance is finite and whose fourth moment is not, as those of local
energies. `apart` puts half of the walkers higher, `wider` multiplies their deviations: neither may be averaged.
`stopping`: the same chains, ended when the error is below a target, looked at every 50 steps or at a quarter more steps
each time. `runs`: evaluations of fixed approximate wavefunctions (a Slater determinant with a Jastrow factor, nothing
is trained), each of walkers of its own, against one long evaluation of all of them, whose error is counted.

    python benchmarks/coverage.py [--series 400] [--stopping 400] [--runs H He LiH] [--threads 1] [--json FILE]
"""

import argparse
import itertools
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import print_table, store, system
from numpy.typing import NDArray

import qmcnet
from qmcnet.laplacian import ForwardLaplacian
from qmcnet.operators import MolecularHamiltonian
from qmcnet.stages.evaluation import FIRST_CHECK, GROWTH
from qmcnet.stages.simulation import Simulation
from qmcnet.statistics.averages import N_BINS, Averages
from qmcnet.statistics.estimate import Estimate, estimate
from qmcnet.statistics.window import Window, choose_window

Array = NDArray[np.float64]
Row = dict[str, Any]
# Steps, walkers, tau, heavy tails, share and tau of a slow mode, half of the walkers higher by, wider by.
CASES = [
    (1000, 512, 3.0, False, 0.0, 1.0, 0.0, 1.0),
    (1000, 64, 3.0, False, 0.0, 1.0, 0.0, 1.0),
    (1000, 16, 3.0, False, 0.0, 1.0, 0.0, 1.0),
    (1000, 4, 3.0, False, 0.0, 1.0, 0.0, 1.0),
    (1000, 2, 3.0, False, 0.0, 1.0, 0.0, 1.0),
    (1000, 512, 3.0, True, 0.0, 1.0, 0.0, 1.0),
    (1000, 64, 3.0, True, 0.0, 1.0, 0.0, 1.0),
    (200, 512, 3.0, True, 0.0, 1.0, 0.0, 1.0),
    (400, 256, 19.0, False, 0.0, 1.0, 0.0, 1.0),
    (400, 32, 19.0, False, 0.0, 1.0, 0.0, 1.0),
    (400, 32, 19.0, True, 0.0, 1.0, 0.0, 1.0),
    (2000, 32, 19.0, False, 0.0, 1.0, 0.0, 1.0),
    (1000, 512, 1.0, False, 0.01, 39.0, 0.0, 1.0),
    (1000, 512, 1.0, False, 0.0025, 999.0, 0.0, 1.0),
    (1000, 512, 3.0, False, 0.0, 1.0, 0.67, 1.0),
    (1000, 512, 3.0, True, 0.0, 1.0, 0.2, 1.0),
    (1000, 512, 3.0, False, 0.0, 1.0, 0.0, 1.2),
    (1000, 64, 3.0, True, 0.0, 1.0, 0.0, 1.5),
]
N_RUNS, N_WALKERS = 40, 32
BURN_IN, SHORT_STEPS, LONG_STEPS = 100, 300, 700


def normal(rng: np.random.Generator, tau: float, n_steps: int, n_walkers: int) -> Array:
    """Draw stationary normal chains of unit variance, (T, B)."""
    phi = (tau - 1.0) / (tau + 1.0)
    chains = rng.standard_normal((n_steps, n_walkers))
    noise = math.sqrt(1.0 - phi**2)
    for step in range(1, n_steps) if phi else ():
        chains[step] *= noise
        chains[step] += phi * chains[step - 1]
    return chains


def draw(
    rng: np.random.Generator, n_steps: int, n_walkers: int, tau: float, heavy: bool, share: float, slow: float
) -> Array:
    """Draw chains of zero mean, (T, B)."""
    chains = normal(rng, tau, n_steps, n_walkers)
    if heavy:
        chains /= np.sqrt(sum(normal(rng, tau, n_steps, n_walkers) ** 2 for _ in range(3)) / 3.0)
    if share:
        chains = math.sqrt(1.0 - share) * chains + math.sqrt(share) * normal(rng, slow, n_steps, n_walkers)
    return chains


def judged(chains: Array) -> Estimate:
    """Estimate from means over time bins, as an evaluation does."""
    length = 1
    while len(chains) > N_BINS * length:
        length *= 2
    n_bins = len(chains) // length
    bins = chains[: n_bins * length].reshape(n_bins, length, -1).mean(1)
    return estimate(bins, length, float(chains.var()))


def coverage(distances: list[float], errors: list[float]) -> Row:
    """Compare distances from the truth with error bars."""
    ratio = np.abs(distances) / np.array(errors)
    return {
        "68 %": float(np.mean(ratio < 1.0)),
        "95 %": float(np.mean(ratio < 1.96)),
        "error / scatter": float(np.sqrt(np.mean(np.square(errors)) / np.mean(np.square(distances)))),
    }


def simulated(count: int) -> Iterator[Row]:
    """Judge many series of each kind."""
    for n_steps, n_walkers, tau, heavy, share, slow, apart, wider in CASES:
        rng = np.random.default_rng(n_steps + n_walkers)
        higher = np.arange(n_walkers) % 2
        found = []
        for _ in range(count):
            chains = draw(rng, n_steps, n_walkers, tau, heavy, share, slow)
            found.append(judged(chains * np.where(higher, wider, 1.0) + apart * higher))
        truth = apart * higher.mean()
        yield {
            "steps": n_steps,
            "walkers": n_walkers,
            "tau": tau,
            "heavy": heavy,
            "slow": f"{100 * share:g} %, {slow:g}" if share else "-",
            "apart": apart,
            "wider": wider,
            "refused": float(np.mean([not result.stationary for result in found])),
            "not mixed": float(np.mean(["mixed" in result.reason for result in found])),
            **coverage([result.mean - truth for result in found], [result.standard_error for result in found]),
        }


def geometric() -> Iterator[int]:
    """Steps at which an evaluation looks at its error."""
    step = FIRST_CHECK
    while True:
        yield step
        step = math.ceil(GROWTH * step)


def stopped(count: int) -> Iterator[Row]:
    """End series when their error is below a target."""
    rules: dict[str, Callable[[], Iterator[int]]] = {
        "every 50 steps": lambda: itertools.count(50, 50),
        "a quarter more": geometric,
    }
    for n_walkers, tau, heavy in ((8, 3.0, False), (32, 3.0, False), (32, 9.0, True), (256, 9.0, False)):
        for name, looks in rules.items():
            rng, found = np.random.default_rng(n_walkers), []
            for _ in range(count):
                chains = draw(rng, 4000, n_walkers, tau, heavy, 0.0, 1.0)
                # Targets over a wide range, so that no look happens to be at the right time.
                target = math.sqrt((3.0 if heavy else 1.0) * tau / (n_walkers * rng.uniform(150.0, 1500.0)))
                for step in looks():
                    result = judged(chains[:step])
                    if (result.stationary and result.standard_error <= target) or step >= 3000:
                        break
                found.append(result)
            yield {
                "walkers": n_walkers,
                "tau": tau,
                "heavy": heavy,
                "looked at": name,
                "steps": float(np.mean([result.n_steps for result in found])),
                **coverage([result.mean for result in found], [result.standard_error for result in found]),
            }


def evaluated(ansatz: qmcnet.SlaterJastrow) -> tuple[list[Window], Window]:
    """Evaluate a fixed wavefunction many times with few walkers, and then once with all of them.

    Walkers are independent, so that each share of them is an evaluation of its own. What follows is long enough for its
    mean to be the truth, and far from the start.

    Args:
        ansatz: the wavefunction.

    Returns:
        The short evaluations, and the long one.
    """
    how = MolecularHamiltonian(ansatz.molecule), ForwardLaplacian()
    sampler = qmcnet.Metropolis(steps=3)
    run = Simulation.start(qmcnet.NaturalStates(ansatz), *how, sampler, N_RUNS * N_WALKERS, 1, torch.device("cpu"))
    short, long = [Averages() for _ in range(N_RUNS)], Averages()
    for step in range(-BURN_IN, SHORT_STEPS + LONG_STEPS):
        run.sweep(sampler=sampler, adapt=step < 0)
        if step >= 0:
            energies = run.hamiltonian(run.states()).matrix[:, None]
            shares = energies.split(N_WALKERS) if step < SHORT_STEPS else [energies]
            for averages, share in zip(short if step < SHORT_STEPS else [long], shares, strict=True):
                averages.add({"energy": share})
    return [choose_window(averages) for averages in short], choose_window(long)


def real(names: list[str]) -> Iterator[Row]:
    """Compare short evaluations with a long one."""
    for name in names:
        start = time.perf_counter()
        ansatz = qmcnet.SlaterJastrow(system(name), dtype=torch.float64).requires_grad_(False)
        windows, reference = evaluated(ansatz)
        long, kept = reference.total, [window.total for window in windows if window.stationary]
        distances = [result.mean - long.mean for result in kept]
        errors = [math.hypot(result.standard_error, long.standard_error) for result in kept]
        yield {
            "system": name,
            "energy": f"{long.mean:.5f}({math.ceil(1e5 * long.standard_error)})",
            "tau": long.tau,
            "error / mHa": 1e3 * float(np.mean([result.standard_error for result in kept])),
            "refused": len(windows) - len(kept),
            **coverage(distances, errors),
            "seconds": time.perf_counter() - start,
        }


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=400, help="simulated series of each kind")
    parser.add_argument("--stopping", type=int, default=400, help="simulated series for each rule of stopping")
    parser.add_argument("--runs", nargs="*", default=[], help="systems to evaluate for real")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tables = {
        "series": list(simulated(options.series)) if options.series else [],
        "stopping": list(stopped(options.stopping)) if options.stopping else [],
        "runs": list(real(options.runs)),
    }
    for rows in filter(None, tables.values()):
        print_table(rows)
    store(options.json, **tables)


if __name__ == "__main__":
    main()
