import gc
import multiprocessing
import os
import sys
import tempfile
import warnings
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: matrices this small only lose by threads, and a fork needs one

import members
import pytest
import torch
from pairwise import pairwise
from torch import nn

from qmcnet.ansatz.envelopes import ENVELOPES
from qmcnet.ansatz.jastrow import JASTROWS
from qmcnet.chemistry import casscf, scf, unrestricted
from qmcnet.laplacian import scaled_exp
from qmcnet.protocols import Derivatives
from qmcnet.system.molecule import Molecule

torch.set_num_threads(1)
os.fsync = int  # nothing that is written here has to outlive the machine, and a disk takes longer than a small run

pytest_plugins = ["runs"]


def pytest_collection_finish():
    """Spare the garbage collector what was imported: it would look at all of it again and again."""
    gc.freeze()


@dataclass(frozen=True)
class Kind:
    """One kind of wavefunction."""

    envelope: str
    ansatz: type
    jastrow: str
    molecule: Molecule
    full_determinants: bool
    complex: bool
    n_states: int
    optimizer: type

    @property
    def options(self) -> dict[str, Any]:
        names = ("full_determinants", "envelope", "jastrow", "complex", "n_states")
        return {name: getattr(self, name) for name in names}

    def __str__(self):
        kind = "full" if self.full_determinants else "blocks"
        number = "complex" if self.complex else "real"
        parts = [self.ansatz.__name__, self.envelope, self.jastrow, kind, number, self.n_states, self.molecule.formula]
        return "-".join(map(str, parts))


AXES = {
    "envelope": sorted(ENVELOPES),
    "ansatz": members.networks(),
    "jastrow": sorted(JASTROWS),
    "molecule": [Molecule.diatomic("Li", "H", 3.015, "bohr"), Molecule.atom("B"), Molecule.atom("He", spin=2)],
    "full_determinants": [True, False],
    "complex": [False, True],
    "n_states": [1, 3],
    "optimizer": members.natural_gradients(),
}
KINDS = [Kind(**case) for case in pairwise(AXES)]


@pytest.fixture(params=KINDS, ids=str)
def kind(request):
    """Kinds of wavefunctions among which every two options meet."""
    return request.param


@pytest.fixture(scope="session")
def kinds():
    """All of them, and the values of each option."""
    return KINDS, AXES


def double_backward(function, positions):
    """Differentiate twice in reverse mode, in all directions at once: many times as fast as torch.func."""
    x = positions.detach().clone().requires_grad_()
    value = function(x * 1)  # not a leaf, which nobody may write to
    parts = torch.view_as_real(value) if value.is_complex() else value
    units = torch.eye(positions[0].numel(), dtype=x.dtype).view(-1, 1, *x.shape[1:]).expand(-1, *x.shape)
    settings = {"retain_graph": True, "materialize_grads": True}
    gradients, laplacians = [], []
    for column in parts.reshape(len(x), -1).unbind(1):
        (gradient,) = torch.autograd.grad(column.sum() + 0 * x.sum(), x, create_graph=True, **settings)
        (hessian,) = torch.autograd.grad(gradient + 0 * x, x, units, is_grads_batched=True, **settings)
        gradients.append(gradient.detach())
        laplacians.append(torch.einsum("dbd->b", hessian.flatten(2)))
    gradient = torch.stack(gradients, -1).view(*x.shape, *parts.shape[1:]).movedim((1, 2), (-2, -1))
    laplacian = torch.stack(laplacians, -1).view(parts.shape)
    if value.is_complex():
        gradient, laplacian = torch.complex(*gradient.unbind(-3)), torch.view_as_complex(laplacian)
    return Derivatives(value.detach(), gradient, laplacian)


@pytest.fixture(scope="session")
def second_derivatives():
    """Value, gradient and Laplacian by autograd alone."""
    return double_backward


@pytest.fixture(scope="session", autouse=True)
def solved_once():
    """Solve the mean field and the active space of a molecule once a session: they are the same for all tests."""
    originals = {(scf, "solve"): scf.solve, (casscf, "solve"): scf.solve}
    originals[casscf, "_solve_active_space"] = casscf._solve_active_space
    solved: dict[Any, Any] = {}

    def remembered(function):
        def solve(mol, *arguments):
            limits = scf._DIIS_CYCLES, unrestricted._NEWTON_CYCLES, unrestricted._MOST_INSTABILITIES
            limits += casscf._MACRO_CYCLES, casscf._SPIN_TOLERANCE
            key = function.__name__, mol.dumps(), arguments, limits
            if key not in solved:
                solved[key] = function(mol, *arguments)
            return solved[key]

        return solve

    with pytest.MonkeyPatch.context() as patch:
        for (module, name), function in originals.items():
            patch.setattr(module, name, remembered(function))
        yield originals


@pytest.fixture
def solved_anew(solved_once, monkeypatch):
    """Solve the mean field and the active space every time they are asked for."""
    for (module, name), function in solved_once.items():
        monkeypatch.setattr(module, name, function)


class Child:
    """A function at work in a fork of this process, which has paid for the imports."""

    def __init__(self, function, *arguments, folder="."):
        with ExitStack() as stack:
            self.streams = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(2)]
            self.closing = stack.pop_all()
        self.process = multiprocessing.get_context("fork").Process(
            target=self._work, args=(folder, function, arguments), daemon=True
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # other threads only wait for the pipes of pytest-xdist
            self.process.start()

    def _work(self, folder, function, arguments):
        os.chdir(folder)
        multiprocessing.current_process()._config["daemon"] = False  # it may start processes of its own
        for number, stream in enumerate(self.streams, start=1):
            os.dup2(stream.fileno(), number)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        warnings.resetwarnings()
        warnings.simplefilter("ignore", DeprecationWarning)
        function(*arguments)

    def wait(self):
        """Return the exit status, negative of a signal, and what was written to both streams."""
        self.process.join()
        with self.closing:
            return self.process.exitcode, *(stream.seek(0) or stream.read() for stream in self.streams)


@pytest.fixture(scope="session")
def fork():
    """Start a function in a process of its own."""
    return Child


class Mixed(nn.Module):
    """States psi'_j = sum_k psi_k A_kj."""

    def __init__(self, network, matrix):
        super().__init__()
        self.network, self.molecule = network, network.molecule
        self.register_buffer("matrix", matrix)

    def forward(self, positions, nuclei):
        values, shift = scaled_exp(*self.network(positions, nuclei))
        values = values * (1 + 0j) if self.matrix.is_complex() else values
        sign, log_abs_psi = torch.linalg.slogdet((values @ self.matrix)[..., None, None])
        return sign, log_abs_psi + shift[..., None]


@pytest.fixture(scope="session")
def mixed():
    """States mixed by a matrix."""
    return Mixed


@pytest.fixture(scope="session")
def mixing():
    """Draw a matrix that is well-conditioned but neither symmetric nor orthogonal."""

    def draw(size, seed=9):
        matrix = torch.randn(size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        return torch.eye(size, dtype=torch.float64) + 0.4 * matrix

    return draw
