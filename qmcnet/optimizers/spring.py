"""SPRING: subsampled projected-increment natural gradient.

Without momentum it is MinSR, stochastic reconfiguration solved in the space of walkers; with a momentum that follows
from the kernel it is PRIME-SR.

References:
    Goldshlager, Abrahamsen, Lin, J. Comput. Phys. 516, 113351 (2024), doi:10.1016/j.jcp.2024.113351,
    arXiv:2401.10190.

Letters: B walkers, P parameters.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from qmcnet.optimizers.gradient import (
    centred,
    check_positive,
    check_share,
    energy_components,
    without_lost_walkers,
)
from qmcnet.optimizers.least_squares import normal_equations
from qmcnet.optimizers.operator import ScoreOperator, add_to_parameters
from qmcnet.optimizers.prime_sr import PrincipalMomentum
from qmcnet.optimizers.scores import score_operator


class Spring:
    """Natural-gradient descent by a Kaczmarz-like projection that remembers its previous direction.

    With scores O centred and divided by sqrt(B), energies e centred and divided by sqrt(B), and
    r = e - mu O phi_old: phi = O^T (O O^T + damping)^-1 r + mu phi_old, and the step is -rate phi, shortened to
    the norm constraint.
    """

    def __init__(
        self,
        ansatz: nn.Module,
        *,
        learning_rate: float = 0.02,
        momentum: float | None = 0.99,
        damping: float = 1e-3,
        norm_constraint: float = 1e-3,
        chunk_size: int = 1024,
    ) -> None:
        """Start without a previous direction.

        Args:
            ansatz: the wavefunction to optimise.
            learning_rate: learning rate, which a schedule scales.
            momentum: share mu of the previous direction that is kept, in [0, 1); 0 is MinSR, None is PRIME-SR.
            damping: regularisation of the kernel, dimensionless.
            norm_constraint: largest squared Euclidean length of a parameter change.
            chunk_size: walkers differentiated at once.

        Raises:
            ValueError: for a setting out of range.
        """
        check_positive(
            learning_rate=learning_rate, damping=damping, norm_constraint=norm_constraint, chunk_size=chunk_size
        )
        if momentum is not None:
            check_share(momentum=momentum)
        self.settings = {"learning_rate": learning_rate, "momentum": momentum, "damping": damping}
        self.settings |= {"norm_constraint": norm_constraint, "chunk_size": chunk_size}
        self.ansatz, self.learning_rate, self.momentum, self.damping = ansatz, learning_rate, momentum, damping
        self.norm_constraint, self.chunk_size = norm_constraint, chunk_size
        self.principal = PrincipalMomentum()
        self.direction = torch.zeros_like(parameters_to_vector(ansatz.parameters())).detach()

    @torch.no_grad()
    def update(self, positions: Tensor, local_energy: Tensor, scale: float = 1.0) -> dict[str, Tensor | float]:
        """Change the parameters of the ansatz once.

        Args:
            positions: electron positions, shape (B, N, 3), in bohr.
            local_energy: real or complex, shape (B,), in hartree; walkers where it is not finite are left out.
            scale: multiplies the learning rate.

        Returns:
            Statistics of the update.
        """
        energies = energy_components(local_energy).double()  # (B, G)
        finite = energies.isfinite().all(-1)
        scores = score_operator(self.ansatz, without_lost_walkers(positions, finite), self.chunk_size)
        with torch.inference_mode():  # products are faster there
            direction, stats = self._project(scores, centred(energies.flatten(), finite), finite)
        # The new state is no tensor of inference mode. Without a single finite walker there is nothing to learn.
        self.direction = torch.where(finite.any(), direction, self.direction)
        rate = self.learning_rate * scale
        change = -rate * self.direction
        change = change * (self.norm_constraint**0.5 / change.norm()).clamp(max=1)
        add_to_parameters(self.ansatz, change)
        return {**stats, "update_norm": change.norm(), "learning_rate": rate}

    def _project(
        self, scores: ScoreOperator, energies: Tensor, finite: Tensor
    ) -> tuple[Tensor, dict[str, Tensor | float]]:
        """New direction, and statistics; scores are centred through the vectors they act on."""
        root = finite.sum().clamp(min=1).double().sqrt()
        system, target = normal_equations(scores, finite), energies / root
        momentum = self.principal(system.matrix, system.rank) if self.momentum is None else self.momentum
        residual = target - momentum * centred(scores.times(self.direction), finite) / root
        step, lifted = system.solve(residual, self.damping)
        grad_norm = 2 * system.gradient_norm(target)
        stats = {"grad_norm": grad_norm, "momentum": momentum, "kernel_lifted": lifted}
        return step + momentum * self.direction, stats

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {"direction": self.direction, "principal": self.principal.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state.

        Args:
            state: what `state_dict` returned.
        """
        self.direction = state["direction"].to(self.direction)
        self.principal.load_state_dict(state["principal"], self.direction.device)
