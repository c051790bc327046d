"""More determinants without another wavefunction: a determinant becomes a sum of several.

A determinant is linear in each of its orbitals. With phi = sum_c phi_c for one of them,

    det[phi, ...] = sum_c det[phi_c, ...]

holds exactly, whatever the parts are. They are phi / m plus random functions that add up to zero, so that the gradients
of the m determinants with respect to all their other orbitals differ from the first step on. Equal shares of equal
determinants would stay equal for ever, and determinants that start at zero have no gradient.

Letters: S states, K determinants, M orbitals of a determinant, F features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from qmcnet.ansatz.orbitals import Orbitals

SPREAD = 0.5
"""Size of the random functions, relative to the part of the orbital that they are added to."""


@dataclass(frozen=True)
class Splitting:
    """Which determinants become several, in what stands in the order of K and then M, over and over.

    Attributes:
        before: number of determinants of a state.
        after: number to come; determinant k goes on as those of k, k + before, k + 2 before, and so on.
        n_orbitals: number of orbitals M of a determinant.
    """

    before: int
    after: int
    n_orbitals: int

    @property
    def source(self) -> Tensor:
        """Number of the determinant that each new one is a part of, shape (K,)."""
        return torch.arange(self.after) % self.before

    def repeat(self, old: Tensor, shape: Sequence[int]) -> Tensor:
        """Give each part what belongs to its determinant.

        Args:
            old: a parameter of orbitals or envelopes.
            shape: the shape it is to have.

        Returns:
            The parameter, repeated along the axis of the determinants if there is one.

        Raises:
            ValueError: if it cannot get this shape.
        """
        if old.shape == tuple(shape):
            return old
        differing = [axis for axis, (size, wanted) in enumerate(zip(old.shape, shape, strict=False)) if size != wanted]
        if len(differing) != 1 or old.shape[differing[0]] * self.after != shape[differing[0]] * self.before:
            raise ValueError(f"orbitals of the shape {tuple(old.shape)} cannot become those of {tuple(shape)}")
        (axis,) = differing
        blocks = old.movedim(axis, 0).unflatten(0, (-1, self.before, self.n_orbitals))
        return blocks.index_select(1, self.source).flatten(0, 2).movedim(0, axis)

    def divide(self, weight: Tensor, generator: torch.Generator) -> Tensor:
        """Let the last orbitals of all parts of a determinant, which are repeated, add up to what it was.

        The last orbital is that of an outer shell, in which determinants of one state differ most.

        Args:
            weight: linear map that makes the orbitals, shape (S K M, F), or (2 S K M, F) of complex ones.
            generator: source of randomness, on the CPU.

        Returns:
            The same with other last orbitals.
        """
        divided = weight.unflatten(0, (-1, self.after, self.n_orbitals)).clone()
        last = divided[:, :, -1]  # (S, K, F)
        size = SPREAD * last.norm(dim=-1, keepdim=True) * last.shape[-1] ** -0.5
        noise = size * torch.randn(last.shape, generator=generator, dtype=last.dtype)
        parts = torch.bincount(self.source).to(last.dtype)[:, None]
        total = torch.zeros_like(last[:, : self.before]).index_add_(1, self.source, noise)
        divided[:, :, -1] = (last + noise - (total / parts)[:, self.source]) / parts[self.source]
        return divided.flatten(0, 2)


def split(
    orbitals: Orbitals, parameters: Mapping[str, Tensor], before: int, after: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Split determinants until there are as many as in other orbitals.

    Args:
        orbitals: those with more determinants.
        parameters: those of the ones with fewer, by name.
        before: number of determinants of a state there.
        after: number of determinants of a state here.
        generator: source of randomness, on the CPU.

    Returns:
        The parameters of more determinants, whose sum is the same.
    """
    wanted, grown = orbitals.state_dict(), dict(parameters)
    for spin, n_orbitals in enumerate(orbitals.counts):
        splitting = Splitting(before, after, n_orbitals)
        for name in (name for name in wanted if name.split(".")[1] == str(spin)):
            grown[name] = splitting.repeat(parameters[name], wanted[name].shape)
        if orbitals.full or spin == 0:  # a product of two determinants is split where one of them is
            grown[f"linear.{spin}.weight"] = splitting.divide(grown[f"linear.{spin}.weight"], generator)
    return grown
