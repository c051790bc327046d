import pytest

from qmcnet.run.identity import NOT_IDENTITY, difference, flatten, identity

CONFIG = {"system": {"symbols": ["H"], "charge": 0}, "ansatz": {"n_layers": 4, "options": {}}, "seed": 0, "steps": 10}


def test_flatten_joins_keys_with_dots():
    assert flatten({"a": {"b": {"c": 1}, "d": []}, "e": {}}) == {"a.b.c": 1, "a.d": [], "e": {}}


@pytest.mark.parametrize("key", ["steps", "device", "logging", "evaluation"])
def test_identity_ignores_how_long_and_where(key):
    assert key in NOT_IDENTITY
    assert identity(CONFIG | {key: {"anything": 1}}) == identity(CONFIG)


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"system": {"symbols": ["He"], "charge": 0}}, {"ansatz": {"n_layers": 3, "options": {}}}, {"new": 1}],
)
def test_identity_sees_what_decides_the_numbers(change):
    assert identity(CONFIG | change) != identity(CONFIG)


def test_identity_is_the_same_for_tuples_and_lists():
    assert identity({"x": (1, 2)}) == identity({"x": [1, 2]})


def test_difference_names_each_key_with_both_values():
    lines = difference({"a": 1, "b": 2, "gone": 3}, {"a": 1, "b": 5, "come": 4})
    assert lines == ["  b: 2 -> 5", "  come: (absent) -> 4", "  gone: 3 -> (absent)"]
    assert difference(CONFIG, CONFIG) == []
