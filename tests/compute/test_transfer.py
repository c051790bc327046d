import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from qmcnet.compute.transfer import to_host

MIXED = [
    torch.tensor(1 / 3, dtype=torch.float64),
    torch.tensor([[1, 2, 3], [4, 5, 6]]),
    torch.tensor(0.1),
    torch.tensor([True, False]),
    torch.tensor([[1 + 2j, 3 - 1j]], dtype=torch.complex128),
    torch.empty(0, 3),
    torch.tensor(1 / 7, dtype=torch.float64),
    torch.tensor(-2.5j, dtype=torch.complex64),
]


def test_every_kind_of_tensor_keeps_its_value_shape_and_place():
    found = to_host(MIXED)
    assert len(found) == len(MIXED)
    for before, after in zip(MIXED, found, strict=True):
        assert after.shape == before.shape
        assert after.dtype == (torch.complex128 if before.is_complex() else torch.float64)
        assert torch.equal(after, before.to(after.dtype))


def test_nothing_comes_from_nothing():
    assert to_host([]) == []


def test_parameters_come_without_their_graph():
    (found,) = to_host([torch.ones(3, requires_grad=True) * 2])
    assert not found.requires_grad
    assert found.tolist() == [2, 2, 2]


class Count(TorchDispatchMode):
    """Counts operations that compute something."""

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.total += not func.is_view and func is not torch.ops.aten.detach.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("rows", [1, 100])
def test_many_numbers_take_as_few_operations_as_one(rows):
    kinds = [torch.tensor(0.5, dtype=torch.float64), torch.tensor(0.5), torch.tensor(2)]
    with Count() as count:
        to_host(kinds * 8 * rows)
    assert count.total <= 6  # a row for each of three dtypes, two of them cast, and one row of all
