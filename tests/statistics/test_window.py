"""The part of an evaluation that is averaged, and the energies of all states in it."""

import math

import numpy as np
import pytest
import torch

from qmcnet.statistics.averages import Averages
from qmcnet.statistics.eigenstates import eigenstates
from qmcnet.statistics.jackknife import jackknife
from qmcnet.statistics.window import choose_window

DOUBLE = torch.float64
B = 64


def averaged(series, overlaps=None):
    """Average local energy matrices (T, B, S, S)."""
    averages = Averages()
    for index, step in enumerate(series):
        others = {} if overlaps is None else {"overlap": overlaps[index][:, None]}
        averages.add({"energy": step[:, None], **others})
    return averages


def noise(steps, n_states, seed, symmetric=False):
    """Draw matrices whose diagonal elements have unit variance, symmetric ones from the orthogonal ensemble."""
    generator = torch.Generator().manual_seed(seed)
    matrices = torch.randn(steps, B, n_states, n_states, dtype=DOUBLE, generator=generator)
    return (matrices + matrices.mT) / 2 if symmetric else matrices


def test_two_degenerate_states_have_the_energy_of_their_level():
    """Eigenvalues of noise in the orthogonal ensemble are apart by sqrt(pi) of its diagonal on the average."""
    n_steps, count = 16, 100
    diagonal = 1 / math.sqrt(n_steps * B)
    windows, lowest = [], []
    for seed in range(count):
        averages = averaged(-2 * torch.eye(2, dtype=DOUBLE) + noise(n_steps, 2, seed, symmetric=True))
        windows.append(choose_window(averages))
        lowest.append(eigenstates(averages.means()["energy"][0])[0][0])
    # Before: the lower eigenvalue. Its bias of half the gap is known to 0.63 of the diagonal a sample.
    assert np.mean(lowest) + 2 == pytest.approx(-math.sqrt(math.pi) / 2 * diagonal, abs=4 * 0.8 * diagonal / 10)
    energies = np.array([window.states[0].mean for window in windows])
    errors = np.array([window.states[0].standard_error for window in windows])
    assert np.mean(errors) == pytest.approx(diagonal / math.sqrt(2), rel=0.1)
    assert abs(np.mean(energies) + 2) < 3.5 * diagonal / math.sqrt(2) / 10
    assert np.mean(abs(energies + 2) < errors) == pytest.approx(0.68, abs=3.5 * 0.047)


def test_states_of_one_level_share_an_energy_without_bias():
    distances = []
    for seed in range(40):
        window = choose_window(averaged(noise(16, 3, seed)))
        assert all(state == window.states[0] for state in window.states) or window.levels.max() > 0
        distances.append(window.states[0].mean / window.states[0].standard_error)
    assert abs(np.mean(distances)) < 3.5 / math.sqrt(40)


@pytest.mark.parametrize("overlapping", [False, True])
def test_errors_of_states_are_those_of_the_jackknife(overlapping):
    generator = torch.Generator().manual_seed(1)
    frame = torch.eye(3, dtype=DOUBLE) + 0.3 * torch.randn(3, 3, dtype=DOUBLE, generator=generator)
    matrix = torch.linalg.solve(frame, torch.diag(torch.tensor([-3.0, -2.0, -1.0], dtype=DOUBLE)) @ frame)
    overlap = torch.eye(3, dtype=DOUBLE) + 0.2 if overlapping else torch.eye(3, dtype=DOUBLE)
    energies = overlap @ matrix + 0.3 * noise(64, 3, 2)
    overlaps = overlap + 0.1 * noise(64, 3, 3) if overlapping else None
    averages = averaged(energies, overlaps)
    window = choose_window(averages)
    assert window.stationary
    assert window.levels.tolist() == [0, 1, 2]

    def lowest(means):
        matrix = np.linalg.solve(means["overlap"][0], means["energy"][0]) if overlapping else means["energy"][0]
        return {"energy": eigenstates(matrix)[0]}

    values, errors = jackknife(lowest, averages.groups())
    np.testing.assert_allclose([state.mean for state in window.states], values["energy"], rtol=1e-12)
    np.testing.assert_allclose([state.standard_error for state in window.states], errors["energy"], rtol=0.45)
    assert window.largest_error == max(state.standard_error for state in window.states)
    assert window.total.mean == pytest.approx(np.trace(averages.means()["energy"][0]), rel=1e-12)


def test_every_state_is_judged_and_not_their_sum():
    opposite = torch.diag(torch.tensor([1.0, -1.0], dtype=DOUBLE))
    levels = torch.diag(torch.tensor([-3.0, -2.0], dtype=DOUBLE)) + 0.1 * noise(200, 2, 4)
    assert choose_window(averaged(levels)).stationary
    drifting = levels + 0.2 * torch.linspace(-0.5, 0.5, 200, dtype=DOUBLE)[:, None, None, None] * opposite
    stuck = levels + 0.1 * (torch.arange(B) % 2 - 0.5)[:, None, None] * opposite
    for series, reason in ((drifting, "drift"), (stuck, "have not mixed")):
        window = choose_window(averaged(series))
        assert window.total.stationary
        assert not window.stationary
        first, second = window.reason.split("state 1: ")
        assert first.startswith("state 0: ")
        assert reason in first
        assert reason in second


def test_complex_matrices_have_real_energies():
    generator = torch.Generator().manual_seed(5)
    energies = torch.diag(torch.tensor([-3.0, -2.0], dtype=torch.complex128))
    series = energies + 0.1 * torch.randn(64, B, 2, 2, dtype=torch.complex128, generator=generator)
    window = choose_window(averaged(series))
    assert window.stationary
    for state, exact in zip(window.states, (-3, -2), strict=True):
        assert state.standard_error == pytest.approx(0.1 / math.sqrt(2 * 64 * B), rel=0.25)
        assert abs(state.mean - exact) < 4 * state.standard_error


def test_intervals_cover_their_share_in_bins_of_several_steps():
    """An AR(1) series of 130 steps: 32 bins of 4 steps, and one of 2."""
    rng, inside, count, phi = np.random.default_rng(8), [], 60, 0.5
    for _ in range(count):
        chains = rng.standard_normal((130, 32))
        for step in range(1, 130):
            chains[step] = phi * chains[step - 1] + math.sqrt(1 - phi**2) * chains[step]
        total = choose_window(averaged(torch.from_numpy(chains)[..., None, None])).total
        inside.append(abs(total.mean) / total.standard_error)
    for limit, share in ((1.0, 0.6827), (1.96, 0.95)):
        spread = (share * (1 - share) / count) ** 0.5
        assert np.mean(np.array(inside) < limit) == pytest.approx(share, abs=3.5 * spread)
    assert total.tau == pytest.approx(3, rel=0.4)
    assert total.variance == pytest.approx(1, rel=0.1)
