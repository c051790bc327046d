"""Random points where electrons may be, with their exact density.

Letters: M points, K components of the mixture.
"""

import math

import torch
from torch import Tensor, nn

from qmcnet.system.elements import atomic_number, shells
from qmcnet.system.molecule import Molecule


class Cloud(nn.Module):
    """Mixture of the densities r^(2n - 2) exp(-2 zeta r) of the shells of Slater's rules about all nuclei.

    Half of the points are drawn with zeta / 2: anions and excited states reach further than neutral atoms.
    """

    centers: Tensor
    exponents: Tensor
    n: Tensor
    weights: Tensor

    def __init__(self, molecule: Molecule) -> None:
        """Collect the shells.

        Args:
            molecule: the nuclei.
        """
        super().__init__()
        atoms = zip(map(atomic_number, molecule.symbols), molecule.cores, strict=True)
        parts = [
            (*center, shell.n, scale * shell.zeta, shell.electrons)
            for center, atom in zip(molecule.coordinates, atoms, strict=True)
            for shell in shells(*atom)
            for scale in (1.0, 0.5)
        ]
        table = torch.tensor(parts, dtype=torch.float64)  # (K, 6)
        self.register_buffer("centers", table[:, :3], persistent=False)
        self.register_buffer("n", table[:, 3], persistent=False)
        self.register_buffer("exponents", 2 * table[:, 4], persistent=False)
        self.n_terms = 2 * max(part[3] for part in parts) + 1
        self.register_buffer("weights", table[:, 5] / table[:, 5].sum(), persistent=False)

    def draw(self, n_points: int, generator: torch.Generator) -> Tensor:
        """Draw independent points.

        Args:
            n_points: number of points M.
            generator: source of randomness on the device of the nuclei.

        Returns:
            Positions, shape (M, 3), in bohr.
        """
        part = torch.multinomial(self.weights, n_points, replacement=True, generator=generator)
        like = {"dtype": self.weights.dtype, "device": self.weights.device, "generator": generator}
        # r is a Gamma variate of order 2n + 1, the sum of as many exponential ones.
        order = 2 * self.n[part] + 1
        terms = -torch.log1p(-torch.rand(n_points, self.n_terms, **like))  # type: ignore[call-overload]
        used = torch.arange(self.n_terms, device=terms.device) < order[:, None]
        r = torch.where(used, terms, 0.0).sum(-1) / self.exponents[part]
        direction = nn.functional.normalize(torch.randn(n_points, 3, **like), dim=-1)  # type: ignore[call-overload]
        return self.centers[part] + r[:, None] * direction

    def density(self, points: Tensor) -> Tensor:
        """Evaluate the probability density of `draw`.

        Args:
            points: positions, shape (..., 3), in bohr.

        Returns:
            Shape (...), in 1/bohr^3.
        """
        r = torch.linalg.vector_norm(points[..., None, :] - self.centers, dim=-1)  # (..., K)
        log_norm = (2 * self.n + 1) * torch.log(self.exponents) - torch.lgamma(2 * self.n + 1) - math.log(4 * math.pi)
        return (self.weights * torch.exp(log_norm - self.exponents * r) * r ** (2 * self.n - 2)).sum(-1)
