"""What holds for every observable."""

import dataclasses

import pytest
import torch
from evaluating import Formula

from qmcnet.operators.operator import OBSERVABLES
from qmcnet.system.molecule import Molecule

MOLECULE = Molecule.diatomic("Li", "H", 3.0, "bohr")
each_observable = pytest.mark.parametrize(
    "name",
    [name for name in sorted(OBSERVABLES) if not hasattr(OBSERVABLES[name], "check")],  # others are not for all states
)


def build(name):
    return OBSERVABLES[name](MOLECULE, **({"basis": "sto-3g"} if name == "natural_orbitals" else {}))


def orbitals(positions):
    x, y, z = positions.unbind(-1)
    shapes = torch.stack([torch.ones_like(x), z, x + 0.2 * y, z * z - y], -1)
    return shapes * torch.exp(-0.4 * positions.norm(dim=-1, keepdim=True))


STATES = [[(1.0, (0, 1), (0, 1))], [(1.0, (0, 1), (0, 2)), (0.3, (0, 2), (0, 3))], [(1.0, (0, 3), (1, 2))]]


def draw(*shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(2)
    return 1.5 * torch.randn(*shape, 4, 3, generator=generator, dtype=torch.float64).to(dtype)


@each_observable
def test_one_row_for_each_component(name, determinants, states):
    observable = build(name)
    assert observable.name == name
    assert len(set(observable.components)) == len(observable.components)
    for network in (determinants(orbitals, STATES, MOLECULE), determinants(orbitals, STATES[:1], MOLECULE)):
        found = states(network, draw(6, dtype=torch.float32))
        result = observable(found)
        assert result.shape == (6, len(observable.components), found.psi.shape[-1])
        assert result.dtype == torch.float64
        assert result.isfinite().all()
        assert result.abs().amax() > 0


@each_observable
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_an_observable_is_a_linear_operator(name, dtype, determinants, local_matrices):
    mixing = torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=dtype)
    network = determinants(orbitals, STATES, MOLECULE)

    def mixed(positions):
        sign, log_abs = network(positions)
        psi = (sign * log_abs.exp()).to(dtype) @ mixing
        return torch.sgn(psi), psi.abs().log()

    observable = build(name)
    plain, found = (local_matrices(observable, states, draw(5, 3)) for states in (network, Formula(mixed, MOLECULE)))
    assert found.dtype == dtype
    torch.testing.assert_close(found, torch.linalg.solve(mixing, plain.to(dtype) @ mixing), rtol=1e-7, atol=1e-7)


@each_observable
def test_rows_are_scaled_like_the_values(name, determinants, states):
    found = states(determinants(orbitals, STATES, MOLECULE), draw(6))
    factor = torch.linspace(-3.0, 2.0, 6, dtype=torch.float64)
    scaled = dataclasses.replace(
        found,
        psi=found.psi * factor.exp()[:, None],
        at=lambda moved: found.at(moved) * factor.exp()[:, None],
        drawn=lambda draw: draw(6, torch.Generator().manual_seed(0)),
    )
    found = dataclasses.replace(found, drawn=scaled.drawn)
    observable = build(name)
    torch.testing.assert_close(observable(scaled), observable(found) * factor.exp()[:, None, None])
