"""The electronic Hamiltonian of a molecule in the Born-Oppenheimer approximation: a sum of operators.

Letters: B walkers, S states, T terms.

References:
    Pfau, Axelrod, Sutterud, von Glehn, Spencer, Science 385, eadn0137 (2024), doi:10.1126/science.adn0137,
    arXiv:2308.16848 (local energy matrices).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from qmcnet.operators.coulomb import ElectronElectron, ElectronNucleus, NucleusNucleus
from qmcnet.operators.effective_core import EffectiveCore
from qmcnet.operators.kinetic import Kinetic
from qmcnet.operators.operator import Operator, States
from qmcnet.system.molecule import Molecule


@dataclass(frozen=True)
class LocalEnergy:
    """Local matrices of the terms of a Hamiltonian, whose averages are those of the states, in hartree.

    The trace is the local energy H psi / psi of the sampled function. Of one state a matrix is that one number.

    Attributes:
        terms: by name, each (B, S, S), float64, or complex128 if the wavefunction is complex; `kinetic` is among them.
        overlap: local matrix of the identity, shape (B, S, S).
    """

    terms: Mapping[str, Tensor]
    overlap: Tensor

    @cached_property
    def matrix(self) -> Tensor:
        """Local matrix of the whole Hamiltonian, shape (B, S, S)."""
        return self.terms["kinetic"] + self._others

    @cached_property
    def _others(self) -> Tensor:
        first, *rest = (term for name, term in self.terms.items() if name != "kinetic")
        return sum(rest, first)

    @property
    def total(self) -> Tensor:
        """Local energy, shape (B,); complex if the wavefunction is."""
        return self.kinetic + self.potential

    @property
    def kinetic(self) -> Tensor:
        """Its kinetic part, shape (B,)."""
        return trace(self.terms["kinetic"])

    @property
    def potential(self) -> Tensor:
        """All the rest of it, shape (B,)."""
        return trace(self._others)


class MolecularHamiltonian(nn.Module):
    """H = -1/2 sum_i lap_i + V_en + V_ee + V_nn with the nuclei clamped, core potentials, and any further terms."""

    def __init__(self, molecule: Molecule, terms: Iterable[Operator] = ()) -> None:
        """Collect the terms.

        Args:
            molecule: nuclei and their charges.
            terms: operators in hartree to add, one component each.

        Raises:
            ValueError: if two terms have the same name, so that one would be lost.
        """
        super().__init__()
        coulomb = (ElectronNucleus(molecule), ElectronElectron(), NucleusNucleus(molecule))
        cores = (EffectiveCore(molecule),) if molecule.ecp else ()
        self.terms: tuple[Operator, ...] = (Kinetic(), *coulomb, *cores, *terms)
        names = [term.name for term in self.terms]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"terms={names} have the names {', '.join(twice)} twice: give each term one of its own")
        self.core = cores[0] if cores else None
        self.modules_of_terms = nn.ModuleList(term for term in self.terms if isinstance(term, nn.Module))

    @torch.no_grad()
    def forward(self, states: States, known: Mapping[str, Tensor] | None = None) -> LocalEnergy:
        """Evaluate the local energy of each walker.

        Args:
            states: the states at their points.
            known: by name, terms that were applied to them already, (M, 1, S) each.

        Returns:
            The terms of the local energy.
        """
        known = known or {}
        applied = [known[term.name] if term.name in known else term(states) for term in self.terms]
        local = states.local(torch.cat(applied, 1))  # (B, T, S, S)
        names = [term.name for term in self.terms]
        return LocalEnergy(dict(zip(names, local.unbind(1), strict=True)), states.overlap)


def trace(matrix: Tensor) -> Tensor:
    """Sum the diagonal.

    Args:
        matrix: shape (..., S, S).

    Returns:
        Shape (...).
    """
    return matrix.diagonal(dim1=-2, dim2=-1).sum(-1)
