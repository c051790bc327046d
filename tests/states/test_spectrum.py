"""The spectrum of an evaluation: figures, errors, units, the table and the diagram."""

import dataclasses
import math
import struct

import numpy as np
import pytest
import torch

from qmcnet.report.levels import draw_levels
from qmcnet.report.table import table, with_error
from qmcnet.states.natural import NaturalStates
from qmcnet.states.spectrum import Spectrum, excitation_units, figures, spectrum
from qmcnet.statistics import window
from qmcnet.statistics.averages import Averages
from qmcnet.statistics.window import choose_window

DOUBLE = torch.float64
ENERGIES, KINETIC = np.array([-2.0, -1.5, -1.1]), np.array([2.1, 1.4, 1.2])
DIPOLE = np.array(
    [[[0.1, 0.5, 0.0], [0.5, 0.2, 0.0], [0.0, 0.0, 0.3]]] * 2 + [[[0.0, 0.4, 1.0], [0.4, 0.0, 0.0], [1.0, 0.0, 0.0]]]
)
SPIN = np.diag([0.0, 2.0, 6.0])[None]
B, S = 64, 3


class Named:
    def __init__(self, name, components):
        self.name, self.components = name, components


SPIN_OBSERVABLE, DIPOLE_OBSERVABLE = Named("spin", ("S^2",)), Named("dipole", ("x", "y", "z"))


def states(norms=(1.0, 3.0, 0.2)):
    return (np.eye(S) + 0.4 * np.random.default_rng(1).normal(size=(S, S))) * np.array(norms)


def local(operator, frame):
    return torch.tensor(np.linalg.inv(frame) @ operator @ frame)


def measured(noise=0.0, energies=ENERGIES, steps=40, seed=0, **others):
    """Average local matrices that scatter about those of known states, of which the identity is exact."""
    generator = torch.Generator().manual_seed(seed)
    identity = torch.eye(S, dtype=DOUBLE).expand(B, 1, S, S)
    exact = {"energy": np.diag(energies)[None], "kinetic": np.diag(KINETIC)[None], **others}
    means = {name: local(operator, states()) for name, operator in exact.items()}
    averages = Averages()
    for _ in range(steps):
        scattered = {
            name: mean + noise * torch.randn(B, *mean.shape, dtype=DOUBLE, generator=generator)
            for name, mean in means.items()
        }
        averages.add({"overlap": identity, **scattered})
    return averages


def found_in(averages, observables=()):
    """Spectrum of a whole series, however short it is."""
    whole = dataclasses.replace(choose_window(averages), reason="")
    return spectrum(averages, whole, observables, 4, NaturalStates.overlaps)


def test_figures_of_every_state():
    exact = {"energy": np.diag(ENERGIES)[None], "kinetic": np.diag(KINETIC)[None], "spin": SPIN, "dipole": DIPOLE}
    found = figures({name: local(operator, states()).numpy() for name, operator in exact.items()})
    expected = {
        "energy": ENERGIES,
        "excitation": [0, 0.5, 0.9],
        "gap": [0.5, 0.4],
        "kinetic": KINETIC,
        "potential": ENERGIES - KINETIC,
        "virial_ratio": (KINETIC - ENERGIES) / KINETIC,
        "spin": [[0], [2], [6.0]],
        "dipole": np.diagonal(DIPOLE, axis1=1, axis2=2).T,
        "oscillator_strength": [0, 2 / 3 * 0.5 * (0.25 + 0.25 + 0.16), 2 / 3 * 0.9 * 1.0],
    }
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-10, err_msg=name)


def test_a_spectrum_has_figures_with_errors():
    averages = measured(1e-3, spin=SPIN, dipole=DIPOLE)
    found = found_in(averages, [SPIN_OBSERVABLE, DIPOLE_OBSERVABLE])
    assert isinstance(found, Spectrum)
    assert found.warnings == []
    assert [state["multiplicity"] for state in found.states] == ["singlet", "triplet", "quintet"]
    for index, state in enumerate(found.states):
        for name, exact in {"energy": ENERGIES, "kinetic": KINETIC, "potential": ENERGIES - KINETIC}.items():
            figure = state[name]
            assert 0 < figure["error"] < 1e-3
            assert abs(figure["value"] - exact[index]) < 5 * figure["error"]
        assert state["excitation"]["value"] == pytest.approx(ENERGIES[index] - ENERGIES[0], abs=1e-3)
        assert list(state["dipole"]) == ["x", "y", "z"]
        for i, axis in enumerate("xyz"):
            assert state["dipole"][axis]["value"] == pytest.approx(DIPOLE[i, index, index], abs=1e-3)
        assert list(state["spin"]) == ["S^2"]
    assert found.states[0]["excitation"] == {"value": 0, "error": 0}
    assert found.states[1]["oscillator_strength"]["value"] == pytest.approx(0.22, abs=1e-3)


def test_errors_of_excitations_know_that_states_move_together():
    averages, generator = Averages(), torch.Generator().manual_seed(1)
    exact = torch.tensor(np.diag(ENERGIES))
    for _ in range(40):
        common = torch.randn(B, 1, 1, 1, dtype=DOUBLE, generator=generator) * torch.eye(S, dtype=DOUBLE)
        averages.add({"energy": exact + common, "kinetic": common + 1, "overlap": torch.eye(S).expand_as(common)})
    second = found_in(averages).states[1]
    assert second["energy"]["error"] == pytest.approx((40 * B) ** -0.5, rel=0.4)
    assert second["excitation"]["error"] < 1e-10


def test_observables_that_were_not_measured_have_no_figure():
    state = found_in(measured(1e-3)).states[1]
    assert not {"multiplicity", "spin", "dipole", "oscillator_strength"} & set(state)


@pytest.mark.parametrize(("gap", "warned"), [(0.4, False), (1e-6, True)])
def test_degenerate_states_are_told(gap, warned):
    found = found_in(measured(1e-3, np.array([-2.0, -1.5, -1.5 + gap])))
    degenerate = [text for text in found.warnings if "degenerate" in text]
    assert len(degenerate) == warned
    assert all("states 1 and 2" in text for text in degenerate)


def test_how_far_states_of_the_lowest_level_are_apart_is_not_known_exactly():
    found = found_in(measured(1e-3, np.array([-2.0, -2.0 + 1e-6, -1.5])))
    lowest, second, third = (state["excitation_ev"] for state in found.states)
    assert lowest == {"value": 0, "error": 0}
    assert second["value"] == 0  # both have the mean of the level
    assert second["error"] is None  # 0 would say that they are degenerate exactly
    assert third["error"] > 0


def changed(first, second):
    """Average 48 steps, in the second half of which the energies of the states are others."""
    averages = measured(1e-4, np.array(first), steps=24)
    rest = measured(1e-4, np.array(second), steps=24, seed=1)
    averages.bins.parts += rest.bins.parts
    return averages


def test_states_that_change_places_are_told(monkeypatch):
    monkeypatch.setattr(window, "SHARES", (0.0,))  # the second half alone has nothing to tell
    plain, crossed = [-2.0, -1.5, -1.1], [-2.0, -1.1, -1.45]
    (sentence,) = [text for text in found_in(changed(plain, crossed)).warnings if "degenerate" not in text]
    assert "0, 2, 1" in sentence
    assert found_in(changed(plain, plain)).warnings == []


def test_the_start_is_discarded():
    averages = changed([-2.0, -1.5, -1.1], [-3.0, -2.5, -2.1])
    assert choose_window(averages).discarded == 24
    energies = [state["energy"]["value"] for state in found_in(averages).states]
    assert energies == pytest.approx([-3.0, -2.5, -2.1], abs=1e-3)


def test_a_single_state_is_its_plain_average():
    generator, averages = torch.Generator().manual_seed(2), Averages()
    energies = torch.randn(30, B, dtype=DOUBLE, generator=generator) - 0.5
    for step in energies:
        local = step[:, None, None, None]
        averages.add({"energy": local, "kinetic": local + 1, "overlap": torch.ones_like(local)})
    found = found_in(averages)
    (state,) = found.states
    assert found.warnings == []
    assert state["energy"]["value"] == pytest.approx(energies.mean().item(), rel=1e-12)
    assert state["energy"]["error"] == pytest.approx((30 * B) ** -0.5, rel=0.4)


def test_a_single_walker_has_no_error_by_groups():
    averages, generator = Averages(), torch.Generator().manual_seed(3)
    for energy in torch.randn(20, 1, 1, 1, 1, dtype=DOUBLE, generator=generator):
        averages.add({"energy": energy, "kinetic": energy + 1, "overlap": torch.ones_like(energy)})
    (state,) = found_in(averages).states
    assert state["energy"]["error"] > 0
    assert state["kinetic"]["error"] is None


def test_without_a_sample_there_is_no_state():
    averages = Averages()
    assert spectrum(averages, choose_window(averages), [], 2, NaturalStates.overlaps) == Spectrum([], [], None)
    averages.add({name: torch.full((4, 1, 2, 2), math.nan, dtype=DOUBLE) for name in ("energy", "kinetic", "overlap")})
    assert spectrum(averages, choose_window(averages), [], 2, NaturalStates.overlaps) == Spectrum([], [], None)


def test_a_tenth_of_a_hartree_in_other_units():
    found = excitation_units({"value": 0.1, "error": 0.001})
    assert found["excitation_ev"]["value"] == pytest.approx(2.7211386, abs=1e-7)
    assert found["excitation_wavenumber"]["value"] == pytest.approx(21947.463, abs=1e-3)
    assert found["wavelength_nm"]["value"] == pytest.approx(455.6335, abs=1e-4)
    assert found["excitation_ev"]["error"] == pytest.approx(0.027211386, abs=1e-9)
    assert found["excitation_wavenumber"]["error"] == pytest.approx(219.47463, abs=1e-5)
    assert found["wavelength_nm"]["error"] == pytest.approx(4.556335, abs=1e-6)


@pytest.mark.parametrize("error", [0.0, 0.01, None])
def test_the_lowest_state_has_no_wavelength(error):
    found = excitation_units({"value": 0.0, "error": error})
    assert found["wavelength_nm"] == {"value": None, "error": None}
    assert found["excitation_ev"]["value"] == 0
    assert found["excitation_ev"]["error"] == (error if not error else pytest.approx(27.211386 * error))


def test_an_unknown_error_stays_unknown():
    found = excitation_units({"value": 0.1, "error": None})
    assert all(figure["error"] is None for figure in found.values())
    assert found["wavelength_nm"]["value"] is not None


@pytest.mark.parametrize(
    ("value", "error", "digits", "text"),
    [
        (-2.903764, 0.00008, 5, "-2.90376(8)"),
        (-2.903764, 0.000081, 5, "-2.90376(9)"),
        (1.98, 0.0123, 3, "1.980(13)"),
        (455.63, 4.5563, 1, "455.6(46)"),
        (21947.4, 219.2, 0, "21947(220)"),
        (0.5, None, 2, "0.50"),
        (None, None, 2, "-"),
        (None, 0.1, 2, "-"),
        (0.5, 0.0, 2, "0.50(0)"),
    ],
)
def test_figures_are_written_with_the_error_of_their_last_digits(value, error, digits, text):
    assert with_error({"value": value, "error": error}, digits) == text


def quoted(spin=True):
    """Three states as an evaluation measures them."""
    others = {"spin": SPIN, "dipole": DIPOLE} if spin else {}
    observables = [SPIN_OBSERVABLE, DIPOLE_OBSERVABLE] if spin else []
    return found_in(measured(1e-3, **others), observables).states


def test_the_table_has_a_line_for_each_state():
    header, *lines = table(quoted()).splitlines()
    assert header.split("  ")[0].strip() == "state"
    assert len({len(line) for line in [header, *lines]}) == 1
    cells = [line.split() for line in lines]
    assert [row[0] for row in cells] == ["0", "1", "2"]
    assert float(cells[0][1].split("(")[0]) == pytest.approx(-2, abs=1e-3)
    assert cells[0][2:5] == ["0", "0", "-"]
    assert cells[0][7] == "-"
    figures_of_first = [float(cell.split("(")[0]) for cell in (cells[1][2], cells[1][4], cells[1][7])]
    assert figures_of_first == pytest.approx([0.5 * 27.2114, 91.127, 0.22], rel=1e-2)
    assert [row[6] for row in cells] == ["singlet", "triplet", "quintet"]


def test_a_table_without_spin_and_dipole_has_dashes():
    lines = [line.split() for line in table(quoted(spin=False)).splitlines()[1:]]
    assert all(row[5:] == ["-", "-", "-"] for row in lines)


@pytest.mark.parametrize("spin", [True, False])
def test_the_levels_are_drawn(spin, tmp_path):
    path = tmp_path / "levels.png"
    draw_levels(quoted(spin), "LiH", path)
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    columns = 3 if spin else 1
    assert (width, height) == (round(150 * (1.6 + 1.8 * columns)), 750)
    assert len(content) > 5000
