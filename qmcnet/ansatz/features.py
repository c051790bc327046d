"""Input features of an electronic wavefunction: vectors and distances to nuclei and between electrons.

Letters: B walkers, N electrons, A nuclei.
"""

from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor

from qmcnet.laplacian import pair_differences
from qmcnet.system.molecule import Molecule


class Features(NamedTuple):
    """Vectors and distances of electrons, in bohr.

    Attributes:
        r_en: electron minus nucleus, shape (B, N, A, 3).
        d_en: electron-nucleus distances, smooth at nuclei behind core potentials, shape (B, N, A).
        r_ee: electron i minus electron j, shape (B, N, N, 3).
        d_ee: electron-electron distances, zero on the diagonal, shape (B, N, N).
    """

    r_en: Tensor
    d_en: Tensor
    r_ee: Tensor
    d_ee: Tensor


def check_molecule(molecule: object) -> None:
    """Refuse what is no molecule.

    Args:
        molecule: what was given as the system.

    Raises:
        ValueError: if it is something else than a `Molecule`.
    """
    if not isinstance(molecule, Molecule):
        raise ValueError(f"molecule={molecule!r} must be a Molecule, as from Molecule.diatomic or Molecule.from_xyz")


def check_electrons(positions: Tensor, molecule: Molecule) -> None:
    """Refuse positions that are not those of the electrons of a molecule; every wavefunction asks at its door.

    Args:
        positions: electron positions, shape (..., N, 3), in bohr.
        molecule: the system.

    Raises:
        ValueError: for another number of electrons or of coordinates.
    """
    if tuple(positions.shape[-2:]) != (molecule.n_electrons, 3):
        electrons = "electron" if molecule.n_electrons == 1 else "electrons"
        raise ValueError(
            f"positions of shape {tuple(positions.shape)}: {molecule.formula} has {molecule.n_electrons} {electrons}, "
            f"so that the shape is (walkers, {molecule.n_electrons}, 3)"
        )


def features(positions: Tensor, nuclei: Tensor, molecule: Molecule, seen: Tensor | None = None) -> Features:
    """Compute the vectors and distances a wavefunction starts from.

    Args:
        positions: electron positions, shape (B, N, 3), in bohr.
        nuclei: nuclear positions, shape (A, 3), in bohr, or (B, A, 3), other ones for each walker.
        molecule: the system, whose electrons these are.
        seen: where nuclei see the electrons, of the shape of the positions, where that is elsewhere.

    Returns:
        Electron-nucleus and electron-electron vectors and distances.

    Raises:
        ValueError: for another number of electrons or of coordinates.
    """
    check_electrons(positions, molecule)
    seen = positions if seen is None else seen
    r_en = seen[..., :, None, :] - nuclei.to(positions.dtype)[..., None, :, :]  # (B, N, A, 3)
    r_ee = pair_differences(positions)  # (B, N, N, 3)
    same = torch.eye(positions.shape[-2], dtype=positions.dtype, device=positions.device)
    # The norm has no derivative at zero: shift the diagonal away from it, then put the zero back.
    d_ee = torch.linalg.vector_norm(r_ee + same[..., None], dim=-1) * (1 - same)  # (B, N, N)
    d_en = torch.linalg.vector_norm(r_en, dim=-1)  # (B, N, A)
    return Features(r_en, softened(d_en, molecule) if molecule.ecp else d_en, r_ee, d_ee)


def softened(d_en: Tensor, molecule: Molecule) -> Tensor:
    """Make distances from nuclei behind core potentials smooth, since wavefunctions have no cusp there.

    Args:
        d_en: distances r, shape (B, N, A), in bohr.
        molecule: the system.

    Returns:
        sqrt(r^2 + s^2) for those nuclei, and r for the others, shape (B, N, A), in bohr; s is the width of the widest
        Gaussian of a potential: 0.6 bohr for Be, 0.4 for C, 1.0 for Mg. Of C 0.7 and 1.6 times that leave 1.2 and 1.4
        times the variance after 600 steps, of Be 1.6 times that 2.6 times the variance after 800.
    """
    how: dict[str, Any] = {"dtype": d_en.dtype, "device": d_en.device}  # not copied from the host, which would wait
    widths = {symbol: ecp.width for symbol, ecp in molecule.ecp}
    squares = [widths.get(symbol, 0.0) ** 2 for symbol in molecule.symbols]
    soft = torch.cat([torch.full((len([*run]),), square, **how) for square, run in groupby(squares)])
    return torch.sqrt(d_en.square() + soft)


def spin_slices(n_up: int, n_down: int) -> list[slice]:
    """Return where the electrons of each spin stand, leaving out a spin without electrons.

    Args:
        n_up: number of spin-up electrons, which come first.
        n_down: number of spin-down electrons.

    Returns:
        One or two slices of the electron axis.
    """
    return [spin for spin in (slice(0, n_up), slice(n_up, n_up + n_down)) if spin.start < spin.stop]
