import pytest
import torch
import torch.nn.functional as F

from qmcnet.laplacian import LapTuple, forward_laplacian, pair_differences, track
from qmcnet.laplacian.supports import Kind


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        (torch.floor, r"torch\.floor"),
        (torch.special.erfcx, r"special.erfcx"),
        (F.hardtanh, r"torch\.nn\.functional\.hardtanh"),
        (lambda x: torch.cumsum(x, -1), r"torch\.cumsum"),
        (lambda x: x.floor(), r"torch\.Tensor\.floor"),
        (lambda x: x.roll(1, 1), r"torch\.Tensor\.roll"),
        (lambda x: x.norm(dim=-1), r"torch\.Tensor\.norm"),
        (lambda x: x.repeat(1, 1, 2), r"torch\.Tensor\.repeat"),
        (torch.linalg.inv, r"linalg_inv|torch\.linalg\.inv"),
    ],
)
def test_unsupported_operations_name_themselves(operation, name, positions):
    operation(positions[..., :3, :])
    with pytest.raises(NotImplementedError, match=f"no rule for torch function '.*{name}'"):
        operation(track(positions))


def test_the_back_end_reports_unsupported_operations(positions):
    with pytest.raises(NotImplementedError, match=r"laplacian=torch_func"):
        forward_laplacian(lambda x: torch.asinh(x).sum((1, 2)), positions)


def test_unknown_attributes_are_attribute_errors(positions):
    x = track(positions)
    for name in ("colour", "__deepcopy__", "grad_fn_of"):
        assert not hasattr(x, name)
        with pytest.raises(AttributeError, match=name):
            getattr(x, name)


def test_it_looks_like_its_value(positions):
    for x in (track(positions), pair_differences(track(positions))):
        assert (x.shape, x.ndim) == (x.value.shape, x.value.ndim)
        assert (x.dtype, x.device) == (x.value.dtype, x.value.device)


def test_dense_writes_out_all_directions(positions):
    x = torch.exp(track(positions))
    wide = x.dense()
    assert wide.support.kind is Kind.DENSE
    assert torch.equal(wide.value, x.value)
    assert torch.equal(wide.laplacian, x.laplacian)
    by_electron = wide.jacobian.unflatten(0, (4, 3))
    for i in range(4):
        assert torch.equal(by_electron[i, :, :, i], x.jacobian[:, :, i])
        assert not by_electron[i, :, :, [j for j in range(4) if j != i]].any()
    assert wide.dense() is wide


def test_dense_pairs_move_with_both_electrons(positions):
    x = torch.exp(pair_differences(track(positions)))
    wide = x.dense()
    assert torch.equal(wide.laplacian, 2 * x.laplacian)
    by_electron = wide.jacobian.unflatten(0, (4, 3))
    assert torch.equal(by_electron[1, :, :, 1, 3], x.jacobian[:, :, 1, 3])
    assert torch.equal(by_electron[3, :, :, 1, 3], -x.jacobian[:, :, 1, 3])
    assert not by_electron[[0, 2], :, :, 1, 3].any()


def test_map_linear_applies_the_function_to_all_parts(positions):
    x = torch.exp(track(positions))
    y = x.map_linear(lambda tensor: 3 * tensor[..., 1:])
    assert isinstance(y, LapTuple)
    assert y.support == x.support
    for part in ("value", "jacobian", "laplacian"):
        assert torch.equal(getattr(y, part), 3 * getattr(x, part)[..., 1:])


@pytest.mark.parametrize(("dim", "new", "axis"), [(1, 0, 1), (-1, 0, 2), (-2, 0, 1), (3, 1, 3), (-1, 1, 3)])
def test_feature_axes_are_numbered_from_the_front(dim, new, axis, positions):
    assert track(positions).feature_axis(dim, new) == axis
