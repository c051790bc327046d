"""Forces on the nuclei, in hartree/bohr: minus the derivatives of the energy by their positions.

The energy is a mean of local energies, E = int |psi|^2 E_L / int |psi|^2. When nucleus A moves by dR, let each electron
follow by w_A(r_i) dR, which changes the variables of the integrals and hence, for any weights, no result. With the
total derivative D_A = d/dR_A + sum_i w_A(r_i) d/dr_i and the Jacobian of the change of variables,

    dE/dR_A = < D_A E_L + (E_L - E) b_A >,  b_A = 2 D_A log|psi| + sum_i grad_i w_A(r_i).

Of an exact state E_L is a constant, and every walker gives the force: the variance falls with that of the energy. The
weights of the space warp let electrons follow the nucleus that they are near, where the derivatives of E_L without them
are largest. With all nuclei moved alike nothing changes, so that these forces add up to zero at every walker.

What is left out: the parameters p of the wavefunction would follow the nuclei as well, sum_p dE/dp dp/dR. This
vanishes where the energy is stationary in p. Off the lowest energy it does not: with parameters kept, the distance d
of the energy to the lowest is quadratic in R, and the force is off by its slope, which is linear in what the parameters
are off by, as sqrt(d) is. Of LiH 0.7 mHa above the exact energy it was off by up to 5 mHa/bohr. Orbitals of
Slater-Jastrow wavefunctions move with the nuclei, and are otherwise the same.

Near a node E_L grows as 1/x with the distance x, and what is averaged as 1/x^2, of which the mean exists and the
variance does not. It is multiplied by f(x/e) = 7 (x/e)^6 - 15 (x/e)^4 + 9 (x/e)^2 within x = |psi| / |grad psi| < e:
the integral of 1 - f vanishes, so that the bias is of the order e^3.

Letters: M points, S states, N electrons, A nuclei, G groups of walkers.

References:
    Umrigar, Int. J. Quantum Chem. 36 (S23), 217 (1989), doi:10.1002/qua.560360826;
    Filippi, Umrigar, Phys. Rev. B 61, R16291 (2000), doi:10.1103/PhysRevB.61.R16291;
    Assaraf, Caffarel, J. Chem. Phys. 119, 10536 (2003), doi:10.1063/1.1621615;
    Sorella, Capriotti, J. Chem. Phys. 133, 234111 (2010), doi:10.1063/1.3516208;
    Pathak, Wagner, AIP Advances 10, 085213 (2020), doi:10.1063/5.0004008 (the tail).
"""

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qmcnet.operators.coulomb import ElectronElectron, ElectronNucleus, NucleusNucleus
from qmcnet.operators.kinetic import Kinetic
from qmcnet.operators.operator import Operator, States, observable
from qmcnet.system.molecule import Molecule
from qmcnet.system.warp import warp_slopes, warp_weights

AXES = ("x", "y", "z")
TAIL = 0.1
"""e times the largest nuclear charge, in bohr."""


@observable
class Forces(nn.Module):
    """What forces are made of: f (D_A E_L + E_L b_A), f b_A and E_L, of all nuclei A and axes."""

    name = "forces"
    pure_only = True
    nuclei: Tensor

    def __init__(self, molecule: Molecule) -> None:
        """Keep the terms of the local energy.

        Args:
            molecule: nuclei and their charges.

        Raises:
            ValueError: for effective core potentials.
        """
        super().__init__()
        self.check(molecule, 1, ())
        terms = [Kinetic(), ElectronNucleus(molecule), ElectronElectron(), NucleusNucleus(molecule)]
        self.terms = nn.ModuleList(terms)
        self.reach = TAIL / float(molecule.charges.max())
        self.coordinates = molecule.nuclei.double().numpy()
        atoms = [f"{symbol}{index}" for index, symbol in enumerate(molecule.symbols, start=1)]
        self.places = tuple(f"{atom} {axis}" for atom in atoms for axis in AXES)
        kinds = [f"{kind} {place}" for kind in ("slope", "weight") for place in self.places]
        self.components = (*kinds, "energy")

    @staticmethod
    def check(molecule: Molecule, n_states: int, terms: Collection[str]) -> None:
        """Refuse what these forces are not made for.

        Args:
            molecule: the system.
            n_states: number of states S.
            terms: names of the terms of the Hamiltonian.

        Raises:
            ValueError: for effective core potentials, several states, or terms besides those of a molecule.
        """
        if molecule.ecp:
            raise ValueError("observables=forces is for all electrons: this run has effective core potentials")
        if n_states > 1:
            raise ValueError(f"observables=forces is for a single state: this run has {n_states}")
        of_molecules = {part.name for part in (Kinetic, ElectronNucleus, ElectronElectron, NucleusNucleus)}
        if further := sorted({*terms} - of_molecules):
            raise ValueError(f"observables=forces is for molecules alone: this run adds the terms {', '.join(further)}")

    def forward(self, states: States) -> Tensor:
        """Multiply the state by what forces are made of.

        Args:
            states: the state at M points.

        Returns:
            Shape (M, 6 A + 1, 1), in hartree/bohr, 1/bohr and hartree.
        """
        found, positions, nuclei = states.response(self.local_energy), states.positions, states.nuclei
        gradient = states.log_gradient[:, 0]  # (M, N, 3)
        weights = warp_weights(positions, nuclei)  # (M, N, A)
        follow = weights.mT  # (M, A, N)
        slope = found.by_nuclei + follow @ found.by_electrons  # (M, A, 3)
        weight = 2 * (found.log_by_nuclei + follow @ gradient.real) + warp_slopes(positions, nuclei, weights).sum(1)
        factor = tail(node_distance(gradient) / self.reach)[:, None]  # (M, 1)
        slope, weight, energy = slope.flatten(1), weight.flatten(1), found.value[:, None]
        return states.times(torch.cat([factor * (slope + energy * weight), factor * weight, energy], -1))

    def local_energy(self, states: States) -> Tensor:
        """Evaluate the local energy by its terms.

        Args:
            states: the state at M points.

        Returns:
            Its real part, shape (M,), in hartree.
        """
        operators: list[Operator] = list(self.terms)  # type: ignore[arg-type]
        operated = torch.cat([term(states) for term in operators], 1)[..., 0].sum(-1)
        local: Tensor = (operated / states.psi[:, 0]).real
        return local

    @property
    def reported(self) -> tuple[str, ...]:
        """Names of the figures that `report` makes: forces, their sum, and their torque about the origin in hartree."""
        return (*self.places, *(f"{name} {axis}" for name in ("net", "torque") for axis in AXES))

    def report(self, groups: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Turn expectation values into forces.

        The force -(a - E b) of the means of f (D E_L + E_L b), f b and E_L follows small changes of these linearly:
        groups count by the force that they make of their own means and, for the product, of those of all.

        Args:
            groups: averages of the components over independent groups of walkers, shape (G, 6 A + 1).

        Returns:
            Forces, net force and torque, and their standard errors, each (3 A + 6,); NaN of a single group.
        """
        slope, weight, energy = np.split(groups.real, [len(self.places), 2 * len(self.places)], -1)
        of_all = weight.mean(0), energy.mean(0)
        changes = weight * of_all[1] + (energy - of_all[1]) * of_all[0]
        forces = (changes - slope).reshape(len(groups), -1, 3)  # (G, A, 3)
        sums = [forces.sum(1), np.cross(self.coordinates, forces).sum(1)]
        figures = np.concatenate([forces.reshape(len(groups), -1), *sums], -1)
        spread = figures.std(0, ddof=1) if len(groups) > 1 else np.full(figures.shape[1], np.nan)
        return figures.mean(0), spread / len(groups) ** 0.5


def node_distance(log_gradient: Tensor) -> Tensor:
    """Estimate how far the next node is, by |psi| / |grad psi|.

    Args:
        log_gradient: gradient of log psi, shape (M, N, 3), in 1/bohr.

    Returns:
        Shape (M,), in bohr.
    """
    return log_gradient.abs().square().sum((-2, -1)).rsqrt()


def tail(x: Tensor) -> Tensor:
    """Evaluate 7 x^6 - 15 x^4 + 9 x^2 up to x = 1, and 1 from there on.

    Args:
        x: distances to a node, in units of the reach.

    Returns:
        The factors, of the same shape.
    """
    squared = x.clamp(max=1).square()
    return squared * (9 + squared * (7 * squared - 15))
