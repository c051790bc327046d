"""Which orbitals of a mean field the electrons occupy in excited Slater determinants.

Letters: n electrons of one spin.
"""

import heapq
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

Determinant = tuple[tuple[int, ...], tuple[int, ...]]
"""Orbitals that the spin-up and the spin-down electrons occupy, each in rising order."""
Energies = Sequence[Sequence[float]]

_RANDOM_POOL = 2  # times the states: how many of the lowest single, and double, excitations are drawn from
_DECIMALS = 4  # what differs less, in hartree or in an amplitude, is degenerate and ordered by its orbitals


def occupied_orbitals(occupations: Sequence[Any]) -> Determinant:
    """Read the occupied orbitals of both spins off their occupation numbers.

    Args:
        occupations: occupation numbers of both spins, (2, n_orbitals).

    Returns:
        The determinant.
    """
    up, down = (tuple(p for p, n in enumerate(numbers) if n > 0) for numbers in occupations)
    return up, down


def ordered_excitations(energies: Energies, ground: Determinant, n: int) -> list[Determinant]:
    """Choose the single and double excitations with the lowest sums of orbital energies.

    Args:
        energies: orbital energies of both spins, (2, n_orbitals), hartree.
        ground: the determinant to excite.
        n: how many to choose.

    Returns:
        Them, or all there are, lowest first; of degenerate ones singles before doubles and up before down.
    """
    return _lowest(itertools.chain(*(_excitations(energies, ground, degree, n + 1) for degree in (1, 2))), n)


def random_excitations(energies: Energies, ground: Determinant, n: int, seed: int) -> list[Determinant]:
    """Draw distinct excitations from the lowest single and the lowest double ones, as many of each.

    Args:
        energies: orbital energies of both spins, (2, n_orbitals), hartree.
        ground: the determinant to excite.
        n: how many to draw.
        seed: of the draw.

    Returns:
        Them, or all there are, in random order.
    """
    size = _RANDOM_POOL * n
    pool = [d for degree in (1, 2) for d in _lowest(_excitations(energies, ground, degree, size + 1), size)]
    drawn = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))[:n]
    return [pool[i] for i in drawn.tolist()]


def leading_determinants(roots: Sequence[Sequence[Tensor]], ground: Determinant, n: int) -> list[Determinant]:
    """Choose of each root the determinant of largest weight that no lower root has taken.

    The singlet and the triplet of one excitation so become that of an electron up and that of an electron down.

    Args:
        roots: amplitudes of each root, lowest first: one array (n, n_virtual) for each spin.
        ground: the determinant that is excited.
        n: how many to choose.

    Returns:
        Them, or all that the roots have.
    """
    chosen: list[Determinant] = []
    for root in roots:
        weights = {}
        for spin, amplitudes in enumerate(root):
            n_orbitals = sum(amplitudes.shape)
            virtual = [p for p in range(n_orbitals) if p not in ground[spin]]
            for hole, row in zip(ground[spin], amplitudes.tolist(), strict=True):
                for particle, amplitude in zip(virtual, row, strict=True):
                    excited = _excite(ground, [(spin, hole)], [(spin, particle)])
                    weights[excited] = -round(abs(amplitude), _DECIMALS)
        left = [excited for excited in sorted(weights, key=weights.__getitem__) if excited not in chosen]
        chosen += left[:1]
    return chosen[:n]


def _lowest(excitations: Iterator[tuple[float, Determinant]], n: int) -> list[Determinant]:
    return [determinant for _, determinant in heapq.nsmallest(n, excitations, key=lambda item: item[0])]


def _excitations(
    energies: Energies, ground: Determinant, degree: int, window: int
) -> Iterator[tuple[float, Determinant]]:
    """Energy and determinant of the excitations among so many orbitals on either side of the gap of each spin."""
    # Whatever lies outside of a window of n + 1 has n others below it, with one of its orbitals exchanged.
    holes, particles = list[tuple[int, int]](), list[tuple[int, int]]()
    for spin in (0, 1):
        level = [round(float(energy), _DECIMALS) for energy in energies[spin]]
        rising = sorted(range(len(level)), key=level.__getitem__)
        holes += [(spin, p) for p in reversed(rising) if p in ground[spin]][:window]
        particles += [(spin, p) for p in rising if p not in ground[spin]][:window]
    for left in itertools.combinations(holes, degree):
        for taken in itertools.combinations(particles, degree):
            if [spin for spin, _ in left] == [spin for spin, _ in taken]:
                cost = sum(energies[s][p] for s, p in taken) - sum(energies[s][p] for s, p in left)
                yield round(float(cost), _DECIMALS), _excite(ground, left, taken)


def _excite(ground: Determinant, holes: Sequence[tuple[int, int]], particles: Sequence[tuple[int, int]]) -> Determinant:
    up, down = (
        tuple(sorted({*ground[spin]} - {p for s, p in holes if s == spin} | {p for s, p in particles if s == spin}))
        for spin in (0, 1)
    )
    return up, down
