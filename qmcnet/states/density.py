"""Sums of local matrices of the electron density over an evaluation.

Letters: M points, B walkers, S states, N electrons.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmcnet.compute.team import by_first, team
from qmcnet.operators import States
from qmcnet.operators.density import DensityGrid, state_weights
from qmcnet.states.ensemble import labels
from qmcnet.statistics.time_bins import TimeBins
from qmcnet.system.molecule import Molecule

logger = logging.getLogger(__name__)

N_BINS = 8
MOST_OUTSIDE = 0.02
"""Electrons outside of the grid of which nothing is said."""


class DensityAverage:
    """Sums of the local matrices of the density of every voxel, in time bins that grow longer."""

    def __init__(self, grid: DensityGrid) -> None:
        """Start without a sample.

        Args:
            grid: the voxels.
        """
        self.grid, self.bins = grid, TimeBins(N_BINS)

    @classmethod
    def around(cls, molecule: Molecule) -> "DensityAverage":
        """Count the electrons about a molecule.

        Args:
            molecule: the system.

        Returns:
            Empty sums on the usual grid.
        """
        return cls(DensityGrid.around(molecule))

    def add(self, states: States, finite: Tensor) -> None:
        """Count the electrons of one step; walkers whose states are linearly dependent are left out.

        Args:
            states: at the walkers of this process.
            finite: which of all walkers count in all averages, shape (B,).
        """
        psi = states.by_walker(states.psi)  # (B, S, S)
        identity = torch.eye(psi.shape[-1], dtype=psi.dtype, device=psi.device).expand_as(psi)
        weights = state_weights(psi, states.local_matrix(psi, identity))  # (B S, S^2)
        finite = team().share(finite) & states.by_walker(weights).isfinite().all(-1).all(-1)
        kept = finite[:, None].expand(psi.shape[:-1]).flatten()[:, None]
        counts = self.grid.count(states.positions, torch.where(kept, weights, 0))
        counts, n_walkers = team().sum([counts, finite.sum()])
        self.bins.add({"counts": counts, "n_walkers": n_walkers})

    @by_first
    def write(
        self, folder: Path, molecule: Molecule, identity: NDArray[Any], right: NDArray[Any], discarded: int = 0
    ) -> None:
        """Write a cube file for each state, `density.cube` or `density_0.cube` and so on.

        Args:
            folder: where they go.
            molecule: the nuclei.
            identity: mean local matrix of the identity, shape (S, S).
            right: eigenvectors of the energy as columns, shape (S, S).
            discarded: steps to leave out at the start.
        """
        left = np.linalg.inv(identity @ right)  # turns averages into the basis of the eigenstates
        n_states, bins = len(right), self.bins.after(discarded)
        if discarded % self.bins.steps_per_bin:
            logger.warning(
                "the density of an earlier version has no time bins: it includes the steps left out elsewhere"
            )
        total = torch.stack([part["counts"] for part in bins]).sum(0).cpu().numpy()
        n_walkers = sum(int(part["n_walkers"]) for part in bins)
        sums = total.reshape(n_states, n_states, *self.grid.shape)
        for state, label in enumerate(labels(n_states)):
            counts = np.einsum("j,jkxyz,k->xyz", left[state], sums, right[:, state]).real
            density = self.grid.density(torch.from_numpy(counts), n_walkers)
            title = f"{molecule.formula}, state {state}"
            inside = float(density.sum()) * self.grid.spacing**3
            if (outside := molecule.n_electrons - inside) > MOST_OUTSIDE:
                told = f"density{label}.cube holds {inside:.2f} of {molecule.n_electrons} electrons"
                logger.warning("%s: %.2f of them are outside of its grid on average", told, outside)
            self.grid.write_cube(folder / f"density{label}.cube", molecule, density, title)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed evaluation needs."""
        return self.bins.state_dict()

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Continue from a saved state.

        Args:
            state: what `state_dict` returned.
            device: where the walkers are.
        """
        self.bins.load_state_dict(state, device)
        for part in self.bins.parts[:1]:  # earlier versions took another margin
            self.grid = self.grid.resized(part["counts"].shape[1:])


def from_total(state: dict[str, Any], steps: int) -> dict[str, Any]:
    """Turn the sums of version 0.1.0, all in one, into what `DensityAverage` loads: a single bin.

    Args:
        state: sums and number of walkers.
        steps: steps in them.

    Returns:
        The state.
    """
    if state["sums"] is None:
        return TimeBins(N_BINS).state_dict()
    part = {"counts": state["sums"], "n_walkers": torch.as_tensor(state["n_walkers"])}
    return {"bins": [part], "steps_per_bin": 1 << (steps - 1).bit_length(), "steps_in_last": steps}
