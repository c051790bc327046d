"""SPRING: subsampled projected-increment natural gradient.

Without momentum it is MinSR, stochastic reconfiguration solved in the space of walkers; with a momentum that follows
from the kernel it is PRIME-SR.

References:
    Goldshlager, Abrahamsen, Lin, J. Comput. Phys. 516, 113351 (2024), doi:10.1016/j.jcp.2024.113351,
    arXiv:2401.10190.

Letters: B walkers, P trained parameters.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from qmcnet.checks import at_least, positive
from qmcnet.compute.chunks import Chunks
from qmcnet.compute.team import team
from qmcnet.optimizers.gradient import (
    centred,
    finite_walkers,
    measured,
    trained_parameters,
    without_lost_walkers,
)
from qmcnet.optimizers.guard import ScoreGuard
from qmcnet.optimizers.least_squares import normal_equations
from qmcnet.optimizers.operator import ScoreOperator, add_to_parameters
from qmcnet.optimizers.prime_sr import Principal, follow, known
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
        constraint_follows_rate: bool = False,
        leave_one_out: bool = False,
        chunk_size: int = 1024,
    ) -> None:
        """Start without a previous direction.

        Args:
            ansatz: the wavefunction to optimise.
            learning_rate: learning rate, which a schedule scales.
            momentum: share mu of the previous direction that is kept, in [0, 1); 0 is MinSR, None is PRIME-SR.
            damping: regularisation of the kernel, dimensionless.
            norm_constraint: largest squared Euclidean length of a parameter change.
            constraint_follows_rate: whether the largest length is scaled like the learning rate. Where it stays, a
                schedule does nothing while directions are so long that the constraint decides.
            leave_one_out: whether the energy of a walker counts as if the curvature did not know the walker itself, see
                `unbent` of `leave_one_out`. Otherwise batches with fewer walkers than there are directions of
                eigenvalues above the damping settle where the variance is low, not where the energy is.
            chunk_size: most walkers differentiated at once; fewer where the memory asks for it.

        Raises:
            ValueError: for a setting out of range, or an ansatz without a parameter to train.
        """
        positive(learning_rate=learning_rate, damping=damping, norm_constraint=norm_constraint)
        at_least(1, chunk_size=chunk_size)
        at_least(0, below=1, momentum=momentum)
        self.settings = {"learning_rate": learning_rate, "momentum": momentum, "damping": damping}
        self.settings |= {"norm_constraint": norm_constraint, "constraint_follows_rate": constraint_follows_rate}
        self.settings |= {"leave_one_out": leave_one_out, "chunk_size": chunk_size}
        self.ansatz, self.learning_rate, self.momentum, self.damping = ansatz, learning_rate, momentum, damping
        self.norm_constraint, self.follows_rate = norm_constraint, constraint_follows_rate
        self.leave_one_out = leave_one_out
        self.chunks = Chunks("optimizer.chunk_size", chunk_size)
        self.guard = ScoreGuard(ansatz, chunk_size)
        self.principal: Principal | None = None
        self.direction = torch.zeros_like(parameters_to_vector(trained_parameters(ansatz).values())).detach()

    @torch.no_grad()
    def update(self, positions: Tensor, local_energy: Tensor, scale: float = 1.0) -> dict[str, Tensor | float]:
        """Change the parameters of the ansatz once.

        Without a finite walker, or with scores that are not finite, there is nothing to learn: such an update leaves
        the parameters and what is remembered as they were.

        Args:
            positions: electron positions of all walkers, shape (B, N, 3), in bohr.
            local_energy: energies that go with the factors, shape (B, G), in hartree; walkers where one is not finite
                are left out.
            scale: multiplies the learning rate, and the largest length if that follows.

        Returns:
            Statistics of the update; `skipped` says whether it was left out.

        Raises:
            ValueError: at the first update, for parameters whose scores are wrong; at any, if parameters have been
                frozen or released since the optimiser was made.
        """
        finite, energies = finite_walkers(local_energy), local_energy.double()
        own = team().share(without_lost_walkers(positions, finite))
        self.guard(own)
        scores = self.chunks.run(
            lambda size: score_operator(self.ansatz, own, size, len(positions)),
            lambda few: score_operator(self.ansatz, few, len(few)),
            own,
        )
        if scores.n_parameters != len(self.direction):
            raise ValueError(
                f"ansatz: {scores.n_parameters} numbers are to be trained, the direction of this optimiser has "
                f"{len(self.direction)}: freeze parameters before the optimiser is made"
            )
        before = known(self.principal, energies) if self.momentum is None else None
        with torch.inference_mode():  # products are faster there
            direction, after, stats, lost = self._project(scores, centred(energies.flatten(), finite), finite, before)
        rate = self.learning_rate * scale
        change = -rate * direction
        longest = self.norm_constraint**0.5 * (scale if self.follows_rate else 1.0)
        change = change * (longest / change.norm().clamp(min=torch.finfo(change.dtype).tiny)).clamp(max=1)
        kept = (lost < len(finite)) & change.isfinite().all()
        add_to_parameters(self.ansatz, torch.where(kept, change, 0))
        # The new state is no tensor of inference mode.
        self.direction = torch.where(kept, direction, self.direction)
        if before is not None and after is not None:
            self.principal = before.replaced(after, kept)
        counts = {"kernel_lifted": stats.pop("kernel_lifted"), "nonfinite": lost, "skipped": ~kept}
        stats = measured(kept, {**stats, "update_norm": change.norm()})
        return {**stats, **counts, "learning_rate": rate}

    def _project(
        self, scores: ScoreOperator, energies: Tensor, finite: Tensor, before: Principal | None
    ) -> tuple[Tensor, Principal | None, dict[str, Tensor | float], Tensor]:
        """New direction, statistics, and how many walkers do not count; scores are centred through their vectors."""
        root = finite.sum().clamp(min=1).double().sqrt()
        system, target = normal_equations(scores, finite), energies / root
        momentum, after = (self.momentum or 0.0, None) if before is None else follow(system, before)
        energies = system.leave_one_out(target, self.damping) if self.leave_one_out else target
        residual = energies - momentum * centred(scores.times(self.direction), finite) / root
        step, lifted = system.solve(residual, self.damping)
        grad_norm = 2 * system.gradient_norm(target)
        stats = {"grad_norm": grad_norm, "momentum": momentum, "kernel_lifted": lifted}
        return step + momentum * self.direction, after, stats, (~system.finite).sum()

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        principal = {"leading": None} if self.principal is None else self.principal.state_dict()
        return {"direction": self.direction, "principal": principal, "chunks": self.chunks.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state.

        Args:
            state: what `state_dict` returned.

        Raises:
            ValueError: for a direction of other parameters than are trained.
        """
        if len(state["direction"]) != len(self.direction):
            raise ValueError(
                f"the direction of the saved optimiser has {len(state['direction'])} numbers, but the ansatz has "
                f"{len(self.direction)} to train: freeze the same parameters as the run that saved it"
            )
        self.direction = state["direction"].to(self.direction)
        self.chunks.load_state_dict(state.get("chunks", {}))
        self.principal = Principal.from_state(state["principal"], self.direction.device)
