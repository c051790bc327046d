import itertools
import random

import pytest
import torch

from qmcnet.compute.streams import stream


def test_a_stream_is_the_same_for_ever():
    # From the definition of BLAKE2b, so that a new version of anything cannot move published numbers.
    assert stream(0, "evaluation") == 6710546449964199886
    assert stream(7, "retry", 3) == 7981995964094545884


def test_no_two_streams_are_the_same():
    purposes = ("retry", "evaluation in evaluation/burn_in=50", "evaluation in evaluation/burn_in=5", "")
    seeds = (*range(40), -1, 500_009, 1_000_003, 2**62, 2**70)
    made = [stream(*of) for of in itertools.product(seeds, purposes, range(20))]
    assert len(set(made)) == len(made)
    # torch keeps 32 bits of the seed of a generator on a CPU; a birthday among 4000 is a matter of 1 in 500.
    assert len({number % 2**32 for number in made}) == len(made)
    assert all(0 <= number < 2**63 for number in made)


@pytest.mark.parametrize("neighbour", [(1, "retry", 0), (0, "retry", 1), (0, "retrying", 0)])
def test_neighbouring_streams_are_unrelated(neighbour):
    first, second = (
        torch.randn(4000, generator=torch.Generator().manual_seed(stream(*of)), dtype=torch.float64)
        for of in ((0, "retry", 0), neighbour)
    )
    assert abs((first * second).mean()) < 4 / 4000**0.5


def test_the_fields_of_a_stream_do_not_run_into_one_another():
    generator = random.Random(0)
    for _ in range(200):
        seed, attempt = generator.randrange(100), generator.randrange(100)
        assert stream(seed, "a", attempt) != stream(seed, f"a{attempt}", 0)
        assert stream(seed, f"{attempt}", 1) != stream(10 * seed + attempt, "", 1)
