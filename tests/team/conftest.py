import logging
import os
import sys
import warnings

import pytest
from torch.multiprocessing.spawn import start_processes

from qmcnet.compute import launch


def renewed(rank, work, *arguments):
    """Work as a process does that has just begun, to which nothing of pytest's is known."""
    logging.root.handlers.clear()
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    work(rank, *arguments)


def forked(work, arguments, nprocs, join):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads only wait for a connection
        return start_processes(renewed, (work, *arguments), nprocs, join, start_method="fork")


@pytest.fixture(scope="module", autouse=True)
def forks():
    """Let processes be forks of this one, which has paid for the imports; a test of the commands starts new ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "spawn", forked)
        yield
