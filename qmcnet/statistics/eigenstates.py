"""Energies of natural excited states and what belongs to each state, from averaged local matrices.

The average of the local energy matrix is similar to the Hamiltonian in the space that the states span: its eigenvalues
are the energies, and its eigenvectors U turn the average of any other local matrix into U^-1 O U, whose diagonal holds
the expectation values and whose products O_ij O_ji hold squared transition elements.

Letters: S states, C components of an observable.

References:
    Pfau, Axelrod, Sutterud, von Glehn, Spencer, Science 385, eadn0137 (2024), doi:10.1126/science.adn0137,
    arXiv:2308.16848.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmcnet.statistics.averages import Means

DEGENERATE = 3.0  # standard errors of the gap: noise alone drives two states of one energy apart by more in 1 %
COMPLEX = 1e-9  # relative to the largest eigenvalue
ITERATIONS = 100


def eigenstates(energy: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Diagonalise an averaged local energy matrix.

    Args:
        energy: shape (S, S), in hartree.

    Returns:
        Energies in ascending order, of which pairs that noise made complex give the real part, (S,), in hartree,
        and the eigenvectors as columns, (S, S).
    """
    values, vectors = np.linalg.eig(energy)
    order = np.argsort(values.real, kind="stable")
    return values.real[order], vectors[:, order]


def in_eigenstates(means: Means) -> Means:
    """Turn averaged local matrices into the basis of the eigenstates of the energy.

    Args:
        means: averages by name, each (C, S, S), among them `energy` with C = 1, in hartree.

    Returns:
        `energy` (S,) in hartree, and every other by its name, (C, S, S), transition elements off the diagonal.
    """
    means = without_overlap(means)
    energies, vectors = eigenstates(means["energy"][0])
    inverse = np.linalg.inv(vectors)
    others = {name: inverse @ matrices @ vectors for name, matrices in means.items() if name != "energy"}
    return {"energy": energies, **others}


def without_overlap(means: Means) -> Means:
    """Divide averages by the overlap of the states, where it has been measured.

    Args:
        means: averages by name, each (C, S, S), maybe with `overlap`.

    Returns:
        The others by name, each (C, S, S).
    """
    if "overlap" not in means:
        return means
    others = [name for name in means if name != "overlap"]
    return {name: np.linalg.solve(means["overlap"], means[name]) for name in others}


def resolved(energies: NDArray[Any], gap_errors: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which neighbours are apart by more than their error.

    Args:
        energies: ascending, (S,), in hartree.
        gap_errors: standard errors of the gaps between neighbours, (S - 1,), in hartree.

    Returns:
        Shape (S - 1,), false where an error is unknown.
    """
    apart: NDArray[np.bool_] = np.diff(energies) > DEGENERATE * gap_errors
    return apart


def levels(energies: NDArray[Any], gap_errors: NDArray[Any]) -> NDArray[np.int64]:
    """Sort states into levels.

    Args:
        energies: ascending, (S,), in hartree.
        gap_errors: standard errors of the gaps between neighbours, (S - 1,), in hartree.

    Returns:
        Ascending from zero, (S,); neighbours that are degenerate within error share a level.
    """
    return np.concatenate([[0], np.cumsum(resolved(energies, gap_errors))]).astype(np.int64)


def level_means(values: NDArray[Any], labels: NDArray[np.int64]) -> NDArray[Any]:
    """Average over the states of each level.

    Eigenvalues of a matrix with noise repel, and ascending order makes the repulsion a bias: of states of one energy
    the first is too low and the last too high. Their mean is the trace of a block, in which the noise averages out.

    Args:
        values: figures of every state, (S, ...).
        labels: level of each state, (S,).

    Returns:
        The same shape, with the mean of its level for every state.
    """
    return np.stack([values[labels == label].mean(0) for label in labels])


def warnings_of(energies: NDArray[Any], gap_errors: NDArray[Any], matrix: NDArray[Any]) -> list[str]:
    """Say what makes a spectrum hard to read.

    Args:
        energies: ascending, (S,), in hartree.
        gap_errors: standard errors of the gaps between neighbours, (S - 1,), in hartree.
        matrix: averaged local energy matrix, (S, S), in hartree.

    Returns:
        Sentences, none for a plain spectrum.
    """
    gaps, apart = np.diff(energies), resolved(energies, gap_errors)
    found = [
        f"states {i} and {i + 1} are degenerate within error{_apart(gap, error)}; "
        "their energies are the mean of the level, and other figures mean something as averages over it alone"
        for i, (gap, error) in enumerate(zip(gaps, gap_errors, strict=True))
        if not apart[i]
    ]
    values = np.linalg.eigvals(matrix)
    if np.isrealobj(matrix) and np.abs(values.imag).max() > COMPLEX * np.abs(values).max():
        found.append("noise made eigenvalues complex; their real parts are given")
    return found


def _apart(gap: float, error: float) -> str:
    """Say how far two states are apart; a complex pair has one real part, of which nothing follows."""
    if error == 0:
        return ""
    told = f"+- {1e3 * error:.2f} mHa apart" if error > 0 else "mHa apart, with an error that is not known"
    return f": {1e3 * gap:.2f} {told}"


def swapped(halves: tuple[Means, Means] | None, apart: NDArray[np.bool_]) -> list[str]:
    """Tell whether states changed places between the halves of an evaluation.

    The network is the same in both halves, so the eigenvectors should be too, but for signs and noise. Noise mixes
    states that are degenerate within error at will.

    Args:
        halves: averages over the first and the second half, with the energy as `energy`; None if there are none.
        apart: which neighbours are not degenerate within error, (S - 1,).

    Returns:
        One sentence, or none.
    """
    if halves is None:
        return []
    first, second = (eigenstates(without_overlap(means)["energy"][0])[1] for means in halves)
    shares = np.linalg.inv(first) @ second
    # Each column of this product sums to one, whatever the norms of the eigenvectors.
    partner = np.abs(shares * np.linalg.inv(shares).T).argmax(0)
    level = np.concatenate([[0], np.cumsum(apart)])  # states that are degenerate share one
    if (level[partner] == level).all():
        return []
    order = ", ".join(map(str, partner))
    return [f"states changed places during the evaluation: those of its second half were {order} in its first"]


def overlap_of_states(values: NDArray[Any], vectors: NDArray[Any]) -> NDArray[np.float64]:
    """Estimate the overlaps of normalised eigenstates from points sampled by natural excited states.

    A point of the total ansatz is distributed as psi^T S^-1 psi with the overlaps S = <psi|psi> of the states, so that
    S is the mean of psi psi^T / (psi^T S^-1 psi) but for a factor: a fixed point, found by iteration.

    Args:
        values: states at M points, each row scaled freely, shape (M, S).
        vectors: eigenvectors as columns, shape (S, S).

    Returns:
        Moduli of the overlaps, one on the diagonal, shape (S, S).
    """
    states = values @ vectors
    overlap = np.eye(len(vectors), dtype=states.dtype)
    for _ in range(ITERATIONS):
        density = (states.conj() @ np.linalg.inv(overlap).T * states).sum(-1).real
        overlap = (states.conj() / density[:, None]).T @ states
        overlap = overlap / np.abs(overlap).max()
    norm = np.sqrt(np.diagonal(overlap).real)
    return np.abs(overlap) / np.outer(norm, norm)
