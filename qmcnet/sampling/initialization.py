"""First positions of the electrons: drawn from the shells of the atoms, with antiparallel neighbours.

Each atom gets the electrons of its charge and the spin of Hund's rule; signs alternate between neighbours and
single spins are then flipped until the totals are those of the molecule. Radii follow Slater's shells.

Dimension letters: B walkers, N electrons, A nuclei.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from qmcnet.checks import at_least
from qmcnet.system.elements import SYMBOLS, Shell, atomic_number, ground_state_spin, shells
from qmcnet.system.molecule import Molecule

Electron = tuple[int, int, float]
"""Index of the nucleus, n and zeta of the shell of one electron."""


def initial_positions(
    molecule: Molecule,
    n_walkers: int,
    generator: torch.Generator,
    dtype: torch.dtype,
    device: torch.device | str,
) -> Tensor:
    """Draw electron positions around the nuclei.

    The radial density of a shell is r^(2n) exp(-2 zeta r). Where atoms can exchange their spins or an
    odd electron, equal shares of the walkers take either choice.

    Args:
        molecule: nuclei and numbers of electrons.
        n_walkers: number of walkers B.
        generator: source of randomness on `device`.
        dtype: floating-point type of the result.
        device: device of the result.

    Returns:
        Positions, spin-up electrons first, (B, N, 3), bohr.

    Raises:
        ValueError: `n_walkers` is not positive.
    """
    at_least(1, n_walkers=n_walkers)
    nuclei = range(len(molecule.symbols))
    arrangements = [arrange(molecule, nuclei), arrange(molecule, nuclei[::-1])]
    if molecule.spin == 0:
        arrangements += [chosen[molecule.n_up :] + chosen[: molecule.n_up] for chosen in arrangements]
    table = torch.tensor(arrangements, dtype=torch.float64, device=device)  # (2 or 4, N, 3)
    choice = torch.arange(n_walkers, device=device) % len(arrangements)
    n_terms = 2 * max(n for chosen in arrangements[:n_walkers] for _, n, _ in chosen) + 1
    nucleus, n, zeta = table[choice].unbind(-1)  # each (B, N)
    displacements = _gamma(2 * n + 1, 2 * zeta, n_terms, generator)[..., None] * _directions(nucleus, generator)
    return (molecule.nuclei.to(device)[nucleus.long()] + displacements).to(dtype)  # (B, N, 3)


def arrange(molecule: Molecule, order: Sequence[int]) -> list[Electron]:
    """Deal the electrons to the nuclei and their shells.

    Args:
        molecule: nuclei and numbers of electrons.
        order: the nuclei, first those that are preferred where the choice is free.

    Returns:
        One entry an electron, spin-up electrons first; those of cores that a potential stands for are left out.
    """
    kinds = list(zip(map(atomic_number, molecule.symbols), molecule.cores, strict=True))
    populations = _populations(kinds, molecule.charge, order)
    atoms = [_occupied(shells(*kind), population) for kind, population in zip(kinds, populations, strict=True)]
    moments = _moments(molecule, atoms, order)
    by_spin: tuple[list[Electron], list[Electron]] = ([], [])
    for nucleus, (atom, moment) in enumerate(zip(atoms, moments, strict=True)):
        for shell, counts in zip(atom, _spins(atom, moment), strict=True):
            for electrons, count in zip(by_spin, counts, strict=True):
                electrons += [(nucleus, shell.n, shell.zeta)] * count
    return by_spin[0] + by_spin[1]


def _populations(kinds: Sequence[tuple[int, int]], charge: int, order: Sequence[int]) -> list[int]:
    """Share the charge: electrons leave where they are bound weakest and go where they are bound best."""
    numbers = [number - n_core for number, n_core in kinds]
    populations = list(numbers)
    atoms = [shells(*kind) for kind in kinds]
    vacancies = [atom[-1].places - atom[-1].electrons for atom in atoms]
    zetas = [atom[-1].zeta for atom in atoms]
    for _ in range(charge):
        bound = [i for i in order if populations[i] > 0]
        populations[min(bound, key=lambda i: (numbers[i] - populations[i], zetas[i]))] -= 1
    for _ in range(-charge):
        added = [population - number for population, number in zip(populations, numbers, strict=True)]
        best = min(order, key=lambda i: (added[i] >= vacancies[i], added[i], -zetas[i]))
        populations[best] += 1
    return populations


def _occupied(atom: Sequence[Shell], population: int) -> list[Shell]:
    """Fill the shells of an atom from the inside; further electrons join the outermost one."""
    *inner, outer = atom
    occupied = []
    for shell in inner:
        occupied.append(replace(shell, electrons=min(shell.electrons, population)))
        population -= occupied[-1].electrons
    return [shell for shell in (*occupied, replace(outer, electrons=population)) if shell.electrons]


def _antiparallel(molecule: Molecule, atoms: Sequence[list[Shell]], order: Sequence[int]) -> list[int]:
    """Give each atom the spin of Hund's rule, opposite to that of its nearest neighbour."""
    distances = torch.cdist(molecule.nuclei, molecule.nuclei).round(decimals=9).tolist()
    moments = [0] * len(atoms)
    unassigned = [i for i in order if _hund(atoms[i], molecule.cores[i])]
    assigned: list[int] = []
    while unassigned:
        pairs = [(i, j) for i in unassigned for j in assigned] or [(unassigned[0], unassigned[0])]
        atom, neighbour = min(pairs, key=lambda pair: distances[pair[0]][pair[1]])
        hund = _hund(atoms[atom], molecule.cores[atom])
        moments[atom] = -hund if moments[neighbour] > 0 else hund
        assigned.append(atom)
        unassigned.remove(atom)
    return [-m for m in moments] if sum(moments) < 0 else moments


def _moments(molecule: Molecule, atoms: Sequence[list[Shell]], order: Sequence[int]) -> list[int]:
    """Flip single spins where the neighbours favour it until all add up to the spin of the molecule."""
    couplings = 1 / torch.cdist(molecule.nuclei, molecule.nuclei).fill_diagonal_(torch.inf)
    moments = _antiparallel(molecule, atoms, order)
    while sum(moments) != molecule.spin:
        flip = 2 if sum(moments) < molecule.spin else -2
        flippable = [i for i in order if abs(moments[i] + flip) <= _unpaired(atoms[i], molecule.cores[i])]
        flippable = flippable or [i for i in order if abs(moments[i] + flip) <= _population(atoms[i])]
        fields = (flip * couplings @ couplings.new_tensor(moments)).tolist()
        # Rounding leaves the choice among equivalent atoms to `order`.
        moments[min(flippable, key=lambda i: round(fields[i], 9))] += flip
    return moments


def _spins(atom: Sequence[Shell], moment: int) -> list[tuple[int, int]]:
    """Count the up and down electrons of each shell, pairing the inner ones."""
    major = (_population(atom) + abs(moment)) // 2
    minor = _population(atom) - major
    counts = []
    for shell in atom:
        aligned = max(min(major, shell.places // 2, shell.electrons), shell.electrons - minor)
        opposed = shell.electrons - aligned
        counts.append((aligned, opposed) if moment >= 0 else (opposed, aligned))
        major, minor = major - aligned, minor - opposed
    return counts


def _population(atom: Sequence[Shell]) -> int:
    return sum(shell.electrons for shell in atom)


def _hund(atom: Sequence[Shell], n_core: int) -> int:
    """Count the unpaired electrons of the neutral atom with as many electrons, those of its core included."""
    population = _population(atom) + n_core
    return ground_state_spin(population) if 1 <= population <= len(SYMBOLS) else population % 2


def _unpaired(atom: Sequence[Shell], n_core: int) -> int:
    """Count the electrons that the outermost shell can leave unpaired."""
    if not atom:
        return 0
    outer = atom[-1].electrons
    return max(_hund(atom, n_core), min(outer, atom[-1].places - outer))


def _gamma(order: Tensor, rate: Tensor, n_terms: int, generator: torch.Generator) -> Tensor:
    """Draw Gamma variates of integer order up to `n_terms`, each a sum of as many exponential ones."""
    terms = torch.arange(n_terms, device=order.device)
    uniform = torch.rand((*order.shape, n_terms), generator=generator, dtype=order.dtype, device=order.device)
    return -(torch.log1p(-uniform) * (terms < order[..., None])).sum(-1) / rate


def _directions(like: Tensor, generator: torch.Generator) -> Tensor:
    normal = torch.randn((*like.shape, 3), generator=generator, dtype=like.dtype, device=like.device)
    return torch.nn.functional.normalize(normal, dim=-1)
