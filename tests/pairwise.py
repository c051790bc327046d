"""Few cases instead of a full product, for tests of parts that do not depend on one another."""

import itertools


def pairwise(axes, allowed=lambda case: True):
    """Choose few cases in which any value of one axis meets any value of another that goes with it.

    `axes` maps names to values, and a case maps them to one value each; `allowed` judges cases, also unfinished ones.
    """
    values = [(name, i) for name, choices in axes.items() for i in range(len(choices))]

    def case(row):
        return {name: axes[name][row[name]] for name in axes if name in row}

    pairs = [pair for pair in itertools.combinations(values, 2) if pair[0][0] != pair[1][0]]
    missing, cases = {frozenset(pair) for pair in pairs if allowed(case(dict(pair)))}, []
    while missing:
        row = dict(next(pair for pair in pairs if frozenset(pair) in missing))
        for name, choices in axes.items():
            # Of equals another one in each case, so that threes are varied, too.
            order = [(name, (i + len(cases)) % len(choices)) for i in range(len(choices))]
            fitting = [choice for choice in order if allowed(case(row | dict([choice])))]
            best = max(fitting, key=lambda choice: len(missing & {frozenset({choice, pair}) for pair in row.items()}))
            row.setdefault(*best)
        missing -= {frozenset(pair) for pair in itertools.combinations(row.items(), 2)}
        cases.append(case(row))
    return cases
