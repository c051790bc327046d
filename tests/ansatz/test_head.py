import members
import pytest
import torch

from qmcnet.ansatz import FermiNet
from qmcnet.ansatz.features import features
from qmcnet.ansatz.head import DeterminantHead
from qmcnet.ansatz.orbitals import sum_of_determinants
from qmcnet.system.molecule import Molecule

LIH = Molecule.diatomic("Li", "H", 3.015, "bohr")
F = 6
SETTINGS = {"n_determinants": 2, "full_determinants": True, "envelope": "isotropic", "jastrow": "none"}


def head(molecule=LIH, **settings):
    torch.manual_seed(0)
    return DeterminantHead(molecule, F, **{**SETTINGS, **settings}).double().requires_grad_(False)


@pytest.fixture
def inputs(walkers):
    positions = walkers(LIH, 5)
    h_one = torch.randn(5, 4, F, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return h_one, features(positions, LIH.nuclei, LIH)


@pytest.mark.parametrize("full", [True, False])
def test_without_jastrow_psi_is_the_sum_of_determinants(full, inputs):
    module = head(full_determinants=full)
    expected = sum_of_determinants(module.orbitals(*inputs), 1)
    assert all(torch.equal(value, other) for value, other in zip(module(*inputs), expected, strict=True))
    assert module.jastrow is None


@pytest.mark.parametrize("full", [True, False])
def test_the_jastrow_factor_multiplies_and_keeps_the_sign(full, inputs):
    plain, module = head(full_determinants=full), head(full_determinants=full, jastrow="cusp")
    (sign, log_abs), (plain_sign, plain_log) = module(*inputs), plain(*inputs)
    assert torch.equal(sign, plain_sign)
    factor = module.jastrow(inputs[1].d_en, inputs[1].d_ee)
    assert (factor < -1e-3).all()
    torch.testing.assert_close(log_abs, plain_log + factor[:, None], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("full", "columns"), [(True, 4), (False, 2)])
def test_shapes_of_the_orbitals(full, columns, inputs):
    assert [tuple(matrix.shape) for matrix in head(full_determinants=full).orbitals(*inputs)] == [
        (5, 2, 2, columns)
    ] * 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_determinants": 0}, "n_determinants=0 must be between 1 and 100000"),
        ({"n_states": 0}, "n_states=0 must be between 1 and 100000"),
        ({"envelope": "slater"}, "envelope='slater' must be one of"),
        ({"jastrow": "slater"}, r"jastrow='slater' must be one of cusp, neural, none"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        head(**settings)


@pytest.mark.parametrize("ansatz", members.networks())
def test_fewer_features_than_electrons_of_a_spin_are_refused_where_they_are_chosen(ansatz, small):
    nitrogen = Molecule.atom("N")  # five electrons are up
    with pytest.raises(ValueError, match="4 features of an electron make no 5 independent orbitals, which N needs"):
        small(ansatz, nitrogen, **({"hidden_one": 4} if ansatz is FermiNet else {"n_heads": 1, "head_size": 4}))


@pytest.mark.parametrize("jastrow", ["none", "cusp"])
@pytest.mark.parametrize("full", [True, False])
def test_each_state_is_a_head_of_its_own_with_the_same_jastrow_factor(full, jastrow, inputs, randomized):
    options = {"full_determinants": full, "jastrow": jastrow}
    module = randomized(head(n_states=3, **options))
    sign, log_abs = module(*inputs)
    assert sign.shape == log_abs.shape == (5, 3)
    for state in range(3):
        one = head(**options)
        if jastrow == "cusp":
            one.jastrow.load_state_dict(module.jastrow.state_dict())
        for parts, whole in zip(one.orbitals.parameters(), module.orbitals.parameters(), strict=True):
            axis = [old == new for old, new in zip(parts.shape, whole.shape, strict=True)].index(False)
            parts.copy_(whole.chunk(3, axis)[state])
        one_sign, one_log = one(*inputs)
        assert torch.equal(one_sign, sign[:, [state]])
        torch.testing.assert_close(one_log, log_abs[:, [state]], rtol=1e-12, atol=1e-12)
    assert (log_abs[:, 0] - log_abs[:, 1]).abs().min() > 1e-3
