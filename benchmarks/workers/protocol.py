"""What every worker of `peers.py` shares: pinning to cores, the walkers, and the line protocol.

Imports neither torch nor jax, so that `begin` can pin the process before they start their threads.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

SINGLE_THREADED = "--xla_cpu_multi_thread_eigen=false"
SEED = 0
GENERATIONS = 20
"""Of diffusion Monte Carlo in one evaluation."""
TIMESTEP = 0.01
"""Of each, in 1/hartree."""

Spec = dict[str, Any]
Evaluate = Callable[[], Any]


def begin() -> tuple[Spec, Any]:
    """Read the order of the parent, pin the process to its cores, and keep standard output for the protocol.

    Whatever a package prints goes to standard error from here on.

    Returns:
        The order, and the channel to the parent.
    """
    spec = json.loads(sys.argv[1])
    os.sched_setaffinity(0, spec["cores"])
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(spec["threads"])
    if spec["threads"] == 1:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {SINGLE_THREADED}".strip()
    os.environ["JAX_PLATFORMS"] = "cpu"
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return spec, channel


def walkers(spec: Spec) -> np.ndarray:
    """Draw the same walkers for every contestant: a Gaussian of one bohr around the nuclei, spins alternating.

    Args:
        spec: the order, with charges, coordinates (bohr) and the number of walkers.

    Returns:
        Positions, spin-up electrons first, shape (B, N, 3), in bohr, float32.

    Raises:
        ValueError: the alternation does not give the spins of the order.
    """
    homes = np.repeat(np.arange(len(spec["charges"])), spec["charges"])
    homes = np.concatenate([homes[::2], homes[1::2]])
    if (len(homes) + 1) // 2 != spec["n_up"]:
        raise ValueError(f"n_up={spec['n_up']} must be {(len(homes) + 1) // 2}: the molecule is to be neutral")
    noise = np.random.default_rng(SEED).normal(size=(spec["walkers"], len(homes), 3))
    return (np.asarray(spec["coordinates"])[homes] + noise).astype(np.float32)


def serve(spec: Spec, channel: Any, evaluate: Evaluate, parameters: int, packages: list[str]) -> None:
    """Warm up, report, then answer each line `run` of the parent with one timed evaluation.

    Args:
        spec: the order, with the number of evaluations averaged in one answer.
        channel: where the answers go.
        evaluate: does the work and returns local energies or log|psi| as an array, finished.
        parameters: number of parameters of the network.
        packages: distributions whose versions are reported.

    Raises:
        FloatingPointError: the result is not finite.
    """
    start = time.perf_counter()
    value = float(np.mean(evaluate()))
    if not math.isfinite(value):
        raise FloatingPointError(f"{spec['work']} of {spec['system']} gives {value}")
    warm_up = time.perf_counter() - start
    report = {"parameters": parameters, "warm_up": warm_up, "value": value}
    send(channel, report | {"versions": versions(packages)})
    if spec["work"] == "first_step":
        return
    evaluate()
    for _ in sys.stdin:
        start, start_cpu = time.perf_counter(), time.process_time()
        for _ in range(spec["inner"]):
            result = evaluate()
        seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
        times = {"seconds": seconds / spec["inner"], "cpu_seconds": cpu / spec["inner"]}
        send(channel, times | {"value": float(np.mean(result))})


def send(channel: Any, message: dict[str, Any]) -> None:
    """Write one line.

    Args:
        channel: where it goes.
        message: what is said.
    """
    print(json.dumps(message), file=channel, flush=True)


def versions(packages: list[str]) -> dict[str, str]:
    """Look up versions.

    Args:
        packages: names of distributions.

    Returns:
        Their versions; 'from a checkout' for what is not installed.
    """
    found = dict.fromkeys(packages, "from a checkout")
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
