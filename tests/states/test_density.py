import numpy as np
import pytest
import torch

from qmcnet import Molecule
from qmcnet.operators.density import DensityGrid
from qmcnet.states.density import DensityAverage


@pytest.mark.parametrize("counted", [2.0, 1.9])
def test_a_cube_that_does_not_hold_all_electrons_says_so(counted, tmp_path, caplog):
    average = DensityAverage(DensityGrid((-0.5, -0.5, -0.5), (2, 2, 2), 1.0))
    walkers = torch.tensor(10)
    average.bins.add({"counts": torch.full((1, 8), 10 * counted / 8, dtype=torch.float64), "n_walkers": walkers})
    average.write(tmp_path, Molecule.atom("He"), np.eye(1), np.eye(1))
    said = "density.cube holds 1.90 of 2 electrons: 0.10 of them are outside of its grid on average"
    assert (said in caplog.text) == (counted < 2)
