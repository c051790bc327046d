import itertools


def test_every_two_options_meet_in_few_kinds(kinds):
    rows, axes = kinds
    for (first, values), (second, others) in itertools.combinations(axes.items(), 2):
        met = {(getattr(row, first), getattr(row, second)) for row in rows}
        assert met == set(itertools.product(values, others)), (first, second)
    assert len(set(rows)) == len(rows) <= 26
