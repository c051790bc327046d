"""How many electrons a molecule has, checked, and the lines that introduce it to people."""

from typing import TYPE_CHECKING

from qmcnet.system.units import BOHR_PER_ANGSTROM

if TYPE_CHECKING:
    from qmcnet.system.molecule import Molecule


def check_electrons(n_electrons: int, charge: int, spin: int) -> None:
    """Refuse numbers of electrons that cannot be.

    Args:
        n_electrons: their number, without those of cores.
        charge: total charge.
        spin: n_up - n_down.

    Raises:
        ValueError: for a charge that leaves no electron or binds more than there are protons, or an impossible spin.
    """
    n, protons = n_electrons, n_electrons + charge
    if n < 1:
        raise ValueError(f"charge={charge} leaves {n} electrons: at most {protons - 1} is possible")
    if n > 2 * protons:
        raise ValueError(f"charge={charge} is not possible: at least {-protons} is")
    if not 0 <= spin <= n or (n - spin) % 2:
        first, last = range(n % 2, min(n + 1, 8), 2), f", ..., {n}" if n > 7 else ""
        allowed = ", ".join(map(str, first)) + last
        raise ValueError(f"spin={spin} is impossible with {n} electrons: n_up - n_down is one of {allowed}")


def summary(molecule: "Molecule") -> str:
    """Describe a molecule for people, lengths in bohr and in angstrom.

    Args:
        molecule: the molecule.

    Returns:
        Several lines: formula, charge, spin and electrons, core potentials if there are any, then the geometry.
    """
    n, up, down = molecule.n_electrons, molecule.n_up, molecule.n_down
    lines = [
        f"{molecule.formula}: charge {molecule.charge}, spin {molecule.spin}, "
        f"{n} electron{'s' * (n > 1)} ({up} up, {down} down)",
        *(
            f"{symbol}: {ecp.name or 'a potential of its own'} for {ecp.n_core} core electrons"
            for symbol, ecp in molecule.ecp
        ),
        f"{'':4}{'x, y, z in bohr':>36}  {'x, y, z in angstrom':>36}",
    ]
    for symbol, row in zip(molecule.symbols, molecule.coordinates, strict=True):
        bohr = "".join(f"{x:12.6f}" for x in row)
        angstrom = "".join(f"{x / BOHR_PER_ANGSTROM:12.6f}" for x in row)
        lines.append(f"{symbol:4}{bohr}  {angstrom}")
    if (distance := molecule.nearest_neighbour) is not None:
        in_angstrom = distance / BOHR_PER_ANGSTROM
        lines.append(f"nearest neighbours {distance:.6f} bohr = {in_angstrom:.6f} angstrom apart")
    return "\n".join(lines)
