"""How the processes of a run are started and find each other: by `launch`, by torchrun, or by srun."""

import logging
import multiprocessing
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, spawn

from qmcnet.compute.processes import TOLD, Processes, noted
from qmcnet.compute.team import standing_in

LOOPBACK = "127.0.0.1"
GRACE = 8.0
"""Seconds that other processes get to end by themselves when one has failed, before they are told to, and once more
before they are killed."""
TIMEOUT = timedelta(days=1)
"""How long others may be busy, such as the first with a CASSCF calculation; one that ends is missed at once."""


@dataclass(frozen=True)
class Place:
    """Where a process stands among those of a run.

    Attributes:
        rank: its number, from 0.
        size: how many there are.
        local_rank: its number on its machine.
        local_size: how many there are on its machine.
        address: machine on which the first process waits for the others.
        port: port there.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    address: str
    port: int


def place(environment: Mapping[str, str] = os.environ) -> Place | None:
    """Find out whether torchrun, or srun, has started this process as one of several.

    Args:
        environment: variables of the process.

    Returns:
        Its place; None for a process on its own.

    Raises:
        ValueError: if a variable of torchrun is missing.
    """
    if int(environment.get("WORLD_SIZE", 1)) > 1:
        needed = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        if missing := [name for name in needed if name not in environment]:
            raise ValueError(f"WORLD_SIZE={environment['WORLD_SIZE']} of torchrun is set, but not {missing[0]}")
        rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
        local = int(environment["LOCAL_RANK"]), int(environment["LOCAL_WORLD_SIZE"])
        return Place(rank, size, *local, environment["MASTER_ADDR"], int(environment["MASTER_PORT"]))
    if int(environment.get("SLURM_STEP_NUM_TASKS", 1)) == 1:  # which a batch script that calls no srun does not have
        return None
    names = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
    rank, size, local_rank = (int(environment[name]) for name in names)
    local_size = -(-size // int(environment.get("SLURM_STEP_NUM_NODES", 1)))
    job = int(environment.get("SLURM_JOB_ID", 0)) * 7 + int(environment.get("SLURM_STEP_ID", 0))
    address, port = first_node(environment["SLURM_STEP_NODELIST"]), 20000 + job % 20000
    return Place(rank, size, local_rank, local_size, address, port)


def first_node(nodes: str) -> str:
    """Read the first name off a list of Slurm's.

    Args:
        nodes: such as 'node[003-007,012]' or 'alpha,beta'.

    Returns:
        Its name, such as 'node003'.
    """
    match = re.match(r"([^,\[]+)(?:\[(\d+)[^\]]*\](.*?))?(?:,|$)", nodes)
    return nodes if match is None else f"{match[1]}{match[2] or ''}{match[3] or ''}"


@contextmanager
def joined(at: Place | None = None, store: TCPStore | None = None) -> Generator[None]:
    """Belong to the processes of a run while in a `with` block.

    Args:
        at: place of this process; by default that which torchrun or srun has given it, if any.
        store: where the processes find each other; by default they do by address and port.

    Yields:
        Nothing.
    """
    at = at or place()
    if at is None or at.size == 1:
        yield
        return
    limit_threads()
    if store is None:
        agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # torchrun keeps a store of its own
        store = TCPStore(at.address, at.port, at.size, at.rank == 0 and not agent, wait_for_workers=False)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    prefixed = PrefixStore("run", store)
    dist.init_process_group(backend, store=prefixed, rank=at.rank, world_size=at.size, timeout=TIMEOUT)
    processes = Processes(store, at.local_rank, at.local_size)
    try:
        with standing_in(processes):
            yield
    finally:
        if processes.lost_peer and torch.cuda.is_initialized():  # a GPU may wait for one that is gone
            _leave()
        dist.destroy_process_group()


def _leave() -> None:
    """End without waiting for operations that others will never join."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def limit_threads() -> None:
    """Give each of several processes one thread, so that they do not fight for the cores."""
    torch.set_num_threads(1)


def launch(work: Callable[..., Any], arguments: tuple[Any, ...], size: int) -> tuple[Any, str | None]:
    """Start the processes of a run on this machine and wait for them.

    Signals that ask to stop are handed on to the first process, which agrees with the others on a step. If one process
    fails, the others end: within seconds where they wait for it, and otherwise they are made to.

    Args:
        work: what each process does, a function of a module; to return 1 is to have failed.
        arguments: its arguments, which can be pickled.
        size: number of processes.

    Returns:
        What the first process returned, None if one failed, and what is left to say of that.

    Raises:
        KeyboardInterrupt: if a signal to stop has ended processes that had not yet begun.
    """
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)  # it says which processes it ends
    store = TCPStore(LOOPBACK, 0, is_master=True, wait_for_workers=False)
    results = multiprocessing.get_context("spawn").SimpleQueue()
    with environment(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1"):
        given = (work, arguments, size, store.port, results)
        context = spawn(_work, given, nprocs=size, join=False)
    lost: str | None = None
    with handing_on(context.pids()[0]) as received:
        try:
            while not context.join(grace_period=GRACE):
                pass
        except ProcessExitedException as error:
            lost = f"rank {error.error_index} was killed by {error.signal_name}" if error.signal_name else None
        except ProcessRaisedException as error:
            lost = f"rank {error.error_index}: {str(error).strip().splitlines()[-1]}"
    if not results.empty():
        return results.get(), None
    if received:  # before the processes could answer a signal in good order
        raise KeyboardInterrupt
    return None, None if store.check([TOLD]) else noted(store) or lost


def _work(rank: int, work: Callable[..., Any], arguments: tuple[Any, ...], size: int, port: int, results: Any) -> None:
    """Do the work of one process."""
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    store = TCPStore(LOOPBACK, port, is_master=False)
    interface = {"linux": "lo", "darwin": "lo0"}.get(sys.platform, "")
    with environment(GLOO_SOCKET_IFNAME=interface), joined(Place(rank, size, rank, size, LOOPBACK, port), store):
        result = work(*arguments)
        if result == 1:
            _leave()
    if rank == 0:
        results.put(result)


def _stop_with_parent() -> None:
    """Ask for an orderly stop when the process that started this one is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def environment(**variables: str) -> Generator[None]:
    """Set variables of the environment that are not set.

    Args:
        **variables: values by name; an empty one is left out.

    Yields:
        Nothing.
    """
    added = {name: value for name, value in variables.items() if value and name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


STOPPING = [
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2")  # some systems lack the last three
    if hasattr(signal, name)
]
"""Signals that ask a run to stop."""


@contextmanager
def handing_on(pid: int) -> Generator[list[int]]:
    """Hand signals that ask to stop on to another process, and in the end to whoever waited for them before.

    Args:
        pid: the process.

    Yields:
        A list that fills with signals.
    """
    received = list[int]()

    def hand_on(number: int, frame: FrameType | None) -> None:
        """Pass a signal."""
        received.append(number)
        try:
            os.kill(pid, number)
        except ProcessLookupError:  # it has just ended
            return

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in STOPPING:
            if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, hand_on)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in received[:1]:  # such as that of a job scheduler, which may queue the job again
            if callable(before[number]) and before[number] is not signal.default_int_handler:
                before[number](number, None)
