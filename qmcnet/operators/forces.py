"""Forces on the nuclei, in hartree/bohr: minus the derivatives of the energy by their positions.

When nucleus A moves by dR, let the wavefunction follow as a fluid does: psi(r) becomes psi(r - v(r)), times the root of
the Jacobian that keeps its norm, with v(r) = w_A(r) dR for each electron and the weights w_A of the space warp. This is
psi - K psi with the anti-Hermitian K = sum_i v(r_i) grad_i + div v(r_i) / 2, and the energy changes by

    dE = < dH/dR dR + [K, H] >.

The part of the potential energy is how it changes when electrons and nuclei move together, which is finite where those
that are near each other move alike. That of the kinetic energy, in parts, needs the gradient of psi alone:

    - Re sum_i (grad_i log psi* . grad_i v) . grad_i log psi  - Re sum_i grad_i log psi . grad_i div v / 2.

So a force costs next to nothing beside a local energy. For an exact psi it is exact, whatever the weights, by the
theorem of Hellmann and Feynman in coordinates that move; of another one it is off to first order, by
-2 <K psi + psi'|(H - E) psi> for the true change psi' of psi, as are the usual estimators, in which psi follows by the
nuclei that it depends on with its parameters kept. Neural networks are no guide to that: nuclei are where they were in
training, and how networks change with them was never trained. Of molecules of ten electrons the deviation of a sample
is 7 to 55 times smaller here, and no derivative of a local energy is needed.

All nuclei moved alike carry the electrons along: the forces of every walker add up to zero. Their torque does not.

Near a node what is averaged grows as 1/x^2 with the distance x, of which the mean exists and the variance does not. It
is multiplied by f(x/e) = 7 (x/e)^6 - 15 (x/e)^4 + 9 (x/e)^2 within x = |psi| / |grad psi| < e: the integral of 1 - f
vanishes, so that the bias is of the order e^3. No sample is larger than of the order 1/e^2. Far from all nodes
|grad psi| / |psi| is about the root of twice the kinetic energy, which grows with charges and numbers of electrons: at
most e is a share of the inverse of that, or every walker of heavy atoms would count as near a node.

Of several states, what stands for grad log psi* is the gradient of the logarithm of the function that is sampled, by
the point where the state stands: of a determinant of states, the cofactors of a point do not depend on it.

Letters: M points, S states, N electrons, A nuclei, C components.

References:
    Umrigar, Int. J. Quantum Chem. 36 (S23), 217 (1989), doi:10.1002/qua.560360826 (space warp);
    Assaraf, Caffarel, J. Chem. Phys. 119, 10536 (2003), doi:10.1063/1.1621615 (the bias);
    Filippi, Assaraf, Moroni, J. Chem. Phys. 144, 194105 (2016), doi:10.1063/1.4948778;
    Pathak, Wagner, AIP Advances 10, 085213 (2020), doi:10.1063/5.0004008 (the tail).
"""

import math
from collections.abc import Collection

import torch
from torch import Tensor, nn

from qmcnet.operators.core_slope import CoreSlope
from qmcnet.operators.coulomb import ElectronElectron, ElectronNucleus, NucleusNucleus
from qmcnet.operators.effective_core import EffectiveCore
from qmcnet.operators.kinetic import Kinetic
from qmcnet.operators.operator import States, observable
from qmcnet.system.elements import atomic_number, shells
from qmcnet.system.molecule import Molecule
from qmcnet.system.warp import Warp, warp

AXES = ("x", "y", "z")
REACH = 0.05
"""e in bohr: integrals of one electron with a node, about H to O, are off by 2e-4 hartree/bohr; with 0.1 by 1.4e-3."""
SHARE = 0.4
"""Most of e, over |psi| / |grad psi| where no node is near. Of HCl 0.5 biases by 9e-4(3) hartree/bohr, 1.5 by half."""


@observable
class Forces(nn.Module):
    """-dH/dR - [K, H] applied to the states, of all nuclei and axes, and the torque about the origin."""

    name = "forces"
    pure_only = True
    charges: Tensor
    coordinates: Tensor

    def __init__(self, molecule: Molecule) -> None:
        """Keep the charges of the nuclei and their core potentials.

        Args:
            molecule: the system.
        """
        super().__init__()
        self.core = CoreSlope(molecule) if molecule.ecp else None
        self.reach, self.typical = REACH, 1 / math.sqrt(2 * kinetic_energy(molecule))
        self.register_buffer("charges", molecule.charges.double(), persistent=False)
        self.register_buffer("coordinates", molecule.nuclei.double(), persistent=False)
        atoms = [f"{symbol}{index}" for index, symbol in enumerate(molecule.symbols, start=1)]
        self.components = tuple(f"{place} {axis}" for place in (*atoms, "torque") for axis in AXES)

    @staticmethod
    def check(molecule: Molecule, n_states: int, terms: Collection[str]) -> None:
        """Refuse what these forces are not made for.

        Args:
            molecule: the system.
            n_states: number of states S.
            terms: names of the terms of the Hamiltonian.

        Raises:
            ValueError: for terms besides those of a molecule.
        """
        of_molecules = {part.name for part in (Kinetic, ElectronNucleus, ElectronElectron, NucleusNucleus)}
        of_molecules |= {EffectiveCore.name} if molecule.ecp else set()
        if further := sorted({*terms} - of_molecules):
            raise ValueError(f"observables=forces is for molecules alone: this run adds the terms {', '.join(further)}")

    def forward(self, states: States) -> Tensor:
        """Apply the operators of the forces and of the torque.

        Args:
            states: the states at M points.

        Returns:
            Shape (M, 3 A + 3, S), in hartree/bohr, and hartree.
        """
        moving, sampled = warp(states.positions, states.nuclei, self.charges), states.sampled_gradient()
        potential = coulomb_slope(states, moving, self.charges)  # (M, A, 3)
        slope = potential[..., None] * states.psi[:, None, None] + kinetic_slope(states, sampled, moving)
        if self.core is not None:
            slope = slope + self.core.slope(states, moving, self.charges)
        of_walkers = states.by_walker(sampled)  # (B, S, N, 3)
        reach = min(self.reach, SHARE * self.typical / math.sqrt(of_walkers.shape[1]))  # S copies are as much steeper
        factor = tail(node_distance(of_walkers) / reach).expand(of_walkers.shape[:2]).flatten()  # (M,)
        forces = -factor[:, None, None, None] * slope  # (M, A, 3, S)
        torque = torch.linalg.cross(self.coordinates[..., None].to(forces).expand_as(forces), forces, dim=2).sum(1)
        return torch.cat([forces.flatten(1, 2), torque], 1)


def coulomb_slope(states: States, moving: Warp, charges: Tensor) -> Tensor:
    """Differentiate the potential energy when electrons move along with the nuclei.

    Args:
        states: at M points.
        moving: weights of the nuclei at the electrons.
        charges: of the nuclei, shape (A,).

    Returns:
        Derivatives by the nuclei, shape (M, A, 3), in hartree/bohr.
    """
    from_nuclei = states.positions[:, :, None] - states.nuclei  # (M, N, A, 3)
    attraction = charges[:, None] * inverse_square(from_nuclei)
    repulsion = inverse_square(states.positions[:, :, None] - states.positions[:, None]).sum(2)  # (M, N, 3)
    between = inverse_square(states.nuclei[:, None] - states.nuclei) * (charges[:, None] * charges)[..., None]
    by_electrons = attraction.sum(2) - repulsion
    slope: Tensor = moving.weights.mT @ by_electrons - attraction.sum(1) - between.sum(1)
    return slope


def inverse_square(vectors: Tensor) -> Tensor:
    """Divide vectors by the third power of their lengths, and leave those without length, shape (..., 3)."""
    lengths = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / torch.where(lengths > 0, lengths, 1) ** 3


def kinetic_slope(states: States, sampled: Tensor, moving: Warp) -> Tensor:
    """Apply the commutator of K and the kinetic energy to the states, in parts.

    Args:
        states: at M points.
        sampled: gradient of the logarithm of the function that is sampled, shape (M, N, 3), in 1/bohr.
        moving: weights of the nuclei at the electrons.

    Returns:
        Shape (M, A, 3, S), in hartree/bohr.
    """
    left, right = sampled.conj(), states.gradient  # (M, N, 3), (M, S, N, 3)
    slopes, curvatures = moving.slopes.to(left), moving.curvatures.to(left)
    along = torch.einsum("mnax,mnx->mna", slopes, left)
    strained = torch.einsum("mna,msnc->macs", along, right)
    strained = strained + torch.einsum("mnax,msnx,mnc->macs", slopes, right, left)
    both = left[:, None] * states.psi[..., None, None] + right  # (M, S, N, 3)
    return -strained / 2 - torch.einsum("mnacx,msnx->macs", curvatures, both) / 4


def kinetic_energy(molecule: Molecule) -> float:
    """Estimate the kinetic energy of the neutral atoms by Slater's rules, in hartree.

    Args:
        molecule: the system.

    Returns:
        The sum over all electrons but those of cores that are replaced.
    """
    atoms = zip(molecule.symbols, molecule.cores, strict=True)
    every = [shell for symbol, n_core in atoms for shell in shells(atomic_number(symbol), n_core)]
    return sum(shell.electrons * shell.zeta**2 / 2 for shell in every)


def node_distance(log_gradient: Tensor) -> Tensor:
    """Estimate how far the next node is, by |psi| / |grad psi|.

    Args:
        log_gradient: gradient of log psi by all positions, shape (B, ..., 3), in 1/bohr.

    Returns:
        Shape (B, 1), in bohr.
    """
    return log_gradient.abs().square().flatten(1).sum(-1, keepdim=True).rsqrt()


def tail(x: Tensor) -> Tensor:
    """Evaluate 7 x^6 - 15 x^4 + 9 x^2 up to x = 1, and 1 from there on.

    Args:
        x: distances to a node, in units of the reach.

    Returns:
        The factors, of the same shape.
    """
    squared = x.clamp(max=1).square()
    return squared * (9 + squared * (7 * squared - 15))
