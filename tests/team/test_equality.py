import csv
import math

import pytest
import ranks
import torch

from qmcnet.compute.launch import launch
from qmcnet.run.checkpoint import Checkpoints

# Rounding differs between shares and wholes, 1e-16 of a number, and the updates of thirty steps amplify it: the largest
# of these runs has 2e-12. A walker that moved otherwise would differ by a tenth.
TOLERANCE = 1e-10


@pytest.fixture(scope="module", params=[2, 3])
def folders(request, tmp_path_factory):
    """Directories of runs made by one process, and by several."""
    alone, shared = (tmp_path_factory.mktemp(name) for name in ("alone", "shared"))
    names = list(ranks.CASES) if request.param == 2 else ["kfac"]
    ranks.work(alone, names)  # first, so that forks need not import again what a run imports late
    result, reason = launch(ranks.work, (shared, names), request.param)
    assert (result, reason) == (0, None)
    return {name: (alone / name, shared / name) for name in [*names, ranks.STARTED]}


def rows(path):
    with open(path, newline="") as file:
        header, *lines = csv.reader(file)
    return header, [[float(text) for text in line] for line in lines]


def tensors(value, place=""):
    """All tensors of a nested state, by their place in it."""
    if isinstance(value, torch.Tensor):
        yield place, value
    elif isinstance(value, dict | list | tuple):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from tensors(part, f"{place}.{key}")


def test_tables_and_states_do_not_depend_on_the_number_of_processes(folders):
    for name, (alone, shared) in folders.items():
        tables = sorted(path.relative_to(alone) for path in alone.rglob("*.csv"))
        assert len(tables) == {ranks.STARTED: 3, ranks.DIFFUSED: 5}.get(name, 4)
        for table in tables:
            (header, expected), (found_header, found) = rows(alone / table), rows(shared / table)
            assert found_header == header
            assert len(found) == len(expected)
            for expected_row, found_row in zip(expected, found, strict=True):
                for column, one, other in zip(header, expected_row, found_row, strict=True):
                    same = math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
                    assert same or (math.isnan(one) and math.isnan(other)), (name, table, expected_row[0], column)
        expected, found = (Checkpoints(folder / "checkpoints", 1).load_newest() for folder in (alone, shared))
        assert found.path.name == expected.path.name
        assert torch.equal(*(one.state["simulation"]["generator"] for one in (expected, found)))
        for (place, one), (other_place, other) in zip(tensors(expected.state), tensors(found.state), strict=True):
            assert other_place == place
            torch.testing.assert_close(other, one, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)


def test_one_process_continues_what_several_began(folders, tmp_path):
    name = "kfac"
    _, shared = folders[name]
    extended = ranks.make(name, shared, steps=14)
    extended.train()
    straight = ranks.make(name, tmp_path / name, steps=14)
    straight.train()
    one, other = (torch.nn.utils.parameters_to_vector(run.ansatz.parameters()) for run in (extended, straight))
    torch.testing.assert_close(one, other, rtol=TOLERANCE, atol=TOLERANCE)
