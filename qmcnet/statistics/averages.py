"""Averages of local matrices: of the energy by walker, of all else by group of walkers, in common time bins.

Walkers are independent of one another, so averages over different groups of them are too, whatever the
autocorrelation of a walker. One rule says what is left out: a walker at a step where its energy is not finite. What
else is not finite there is left out of its own average, which has a count of its own.

Letters: B walkers, G groups of walkers, S states, C components of an observable, n time bins.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmcnet.statistics.time_bins import Sums, TimeBins

N_GROUPS = 32
N_BINS = 64
FAR_OUT = 5.0  # mean absolute deviations from the median
ENERGIES = ("energy", "overlap")
Means = dict[str, NDArray[Any]]


def count_of(name: str) -> str:
    """Name the number of samples in a sum.

    Args:
        name: name of what is summed.

    Returns:
        Name of its count.
    """
    return "count" if name in ENERGIES else f"count of {name}"


class Averages:
    """Sums of local matrices in time bins that grow longer as the series does."""

    def __init__(self) -> None:
        """Start without a sample."""
        self.bins = TimeBins(N_BINS)
        self.origin: Tensor | None = None  # what energies are measured from in sums of squares

    @property
    def n_states(self) -> int:
        """Number of states S; 1 before the first sample."""
        return int(self.bins.parts[0]["energy"].shape[-1]) if self.bins.parts else 1

    def add(self, local: Mapping[str, Tensor]) -> Tensor:
        """Add the local matrices of one step.

        Args:
            local: local matrices by name, each (B, C, S, S), among them `energy`, maybe `overlap`.

        Returns:
            Which walkers count: those whose energy is finite, (B,).
        """
        energies = {name: local[name] for name in ENERGIES if name in local}
        finite = torch.stack([torch.isfinite(matrices.flatten(1)).all(-1) for matrices in energies.values()]).all(0)
        n_walkers = len(finite)
        n_chains = len(self.bins.parts[0]["count"]) if self.bins.parts else n_walkers
        step = self._tails(energies["energy"], finite) | {"count": _by_group(finite.double(), n_chains)}
        for name, matrices in local.items():
            kept = finite if name in ENERGIES else finite & torch.isfinite(matrices.flatten(1)).all(-1)
            rows = torch.where(kept[:, None, None, None], matrices, 0)
            step[name] = _by_group(rows, n_chains if name in ENERGIES else min(N_GROUPS, n_walkers))
            if name not in ENERGIES:
                step[count_of(name)] = _by_group(kept.double(), min(N_GROUPS, n_walkers))
        self.bins.add(step)
        return finite

    def _tails(self, energy: Tensor, finite: Tensor) -> Sums:
        """Sum the squares of the energies of a step, and count those far out and all walkers."""
        total = energy[:, 0].diagonal(dim1=-2, dim2=-1).sum(-1).real
        n_finite = finite.sum().clamp(min=1)
        if self.origin is None:
            self.origin = torch.where(finite, total, 0).sum() / n_finite
        ordered = torch.where(finite, total, torch.inf).sort().values
        distance = torch.where(finite, total - ordered.gather(0, (n_finite - 1)[None] // 2), 0).abs()
        return {
            "square": torch.where(finite, total - self.origin, 0).square().sum(),
            "far_out": (distance > FAR_OUT * distance.sum() / n_finite).double().sum(),
            "offered": torch.full((), float(len(finite)), dtype=torch.float64, device=total.device),
        }

    def totals(self, discarded: int = 0) -> Means:
        """Sum over walkers and time.

        Args:
            discarded: steps to leave out at the start.

        Returns:
            Sums by name, each (C, S, S), counts by the names of `count_of`, each (), and the sum of squares of energies
            from the origin, `square`, the number of those far out, `far_out`, and of all samples, `offered`, each ().
        """
        return _totals(self.bins.after(discarded))

    def means(self, discarded: int = 0) -> Means:
        """Average over walkers and time.

        Args:
            discarded: steps to leave out at the start.

        Returns:
            Averages by name, each (C, S, S); not finite without a finite sample.
        """
        return _means(self.totals(discarded))

    def groups(self, discarded: int = 0) -> Means:
        """Sum over time and groups of walkers.

        Args:
            discarded: steps to leave out at the start.

        Returns:
            Sums by name, each (G, C, S, S), and counts by the names of `count_of`, each (G,).
        """
        bins = self.bins.after(discarded)
        names = [name for name in bins[0] if bins[0][name].ndim]
        sums = {name: torch.stack([part[name] for part in bins]).sum(0) for name in names}
        n_groups = min(N_GROUPS, len(sums["count"]))
        return {name: _by_group(total, n_groups).cpu().numpy() for name, total in sums.items()}

    def halves(self, discarded: int = 0) -> tuple[Means, Means] | None:
        """Average the first and the second half of the time on their own.

        Args:
            discarded: steps to leave out at the start.

        Returns:
            Averages by name, each (C, S, S); None of a single bin.
        """
        kept = self.bins.after(discarded)
        middle = len(kept) // 2
        if not middle:
            return None
        return _means(_totals(kept[:middle])), _means(_totals(kept[middle:]))

    def chains(self, discarded: int = 0) -> Means:
        """Average over the steps of each full bin, for every walker on its own.

        Args:
            discarded: steps to leave out at the start.

        Returns:
            `energy` and, where it was measured, `overlap`, each (n, B, S, S); the mean over all, where a walker has no
            sample.
        """
        bins = self.bins.after(discarded)
        full = bins[: len(bins) - (self.bins.n_full < len(self.bins.parts))]
        counts = torch.stack([part["count"] for part in full])[..., None, None]  # (n, B, 1, 1)
        means, found = self.means(discarded), {}
        for name in ENERGIES:
            if name in full[0]:
                sums = torch.stack([part[name][:, 0] for part in full])
                overall = torch.from_numpy(means[name][0]).to(sums)
                found[name] = torch.where(counts > 0, sums / counts, overall).cpu().numpy()
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed evaluation needs."""
        return self.bins.state_dict() | {"origin": self.origin}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Continue from a saved state.

        Args:
            state: what `state_dict` returned.
            device: where the local matrices will be.
        """
        self.bins.load_state_dict(state, device)
        self.origin = None if state["origin"] is None else state["origin"].to(device)


def from_series(state: Mapping[str, Any], series: Tensor) -> dict[str, Any]:
    """Turn averages of version 0.1.0, all by group, and the series beside them into what `Averages` loads.

    Args:
        state: bins with one count for everything that was measured.
        series: local energies, of several states their sum, shape (T, B), in hartree.

    Returns:
        A state whose walkers are the groups.
    """
    origin = series[0].nan_to_num(0, 0, 0).mean() if len(series) else None
    deviations = (series - (0 if origin is None else origin)).nan_to_num(0, 0, 0)
    median = series.nanmedian() if len(series) else 0
    distance = (series - median).nan_to_num(0, 0, 0).abs()
    far_out = distance > FAR_OUT * distance.mean()
    bins = []
    for index, part in enumerate(state["bins"]):
        steps = slice(index * state["steps_per_bin"], (index + 1) * state["steps_per_bin"])
        tails = {"square": deviations[steps].square().sum(), "far_out": far_out[steps].double().sum()}
        tails["offered"] = torch.tensor(float(series[steps].numel()), dtype=torch.float64)
        names = [name for name in part if name not in (*ENERGIES, "count")]
        bins.append({**part, **{count_of(name): part["count"] for name in names}, **tails})
    return {**state, "bins": bins, "origin": origin}


def _by_group(rows: Tensor, n_groups: int) -> Tensor:
    """Sum over neighbouring rows, in groups as equal as can be."""
    if len(rows) == n_groups:
        return rows
    group = torch.arange(len(rows), device=rows.device) * n_groups // len(rows)
    # A product with zeros and ones adds up in the same order on every device, as scattering does not.
    members = (group == torch.arange(n_groups, device=rows.device)[:, None]).to(rows.dtype)  # (G, B)
    return (members @ rows.flatten(1)).unflatten(1, rows.shape[1:]) if rows.ndim > 1 else members @ rows


def _totals(bins: Sequence[Sums]) -> Means:
    sums = {name: torch.stack([part[name] for part in bins]).sum(0) for name in bins[0]}
    return {name: (total.sum(0) if total.ndim else total).cpu().numpy() for name, total in sums.items()}


def _means(totals: Means) -> Means:
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: total / totals[count_of(name)] for name, total in totals.items() if total.ndim}
