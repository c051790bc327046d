"""First-order optimisers: any of torch.optim on the score-based energy gradient."""

from typing import Any

import torch
from torch import Tensor, nn

from qmcnet.optimizers.gradient import centred_energies, check_positive, without_lost_walkers
from qmcnet.optimizers.schedules import inverse_decay

NOT_FIRST_ORDER = ("LBFGS", "Optimizer", "SparseAdam")
"""Classes of torch.optim that one dense gradient a step does not serve."""


class FirstOrder:
    """An optimiser of torch.optim fed with grad E = 2 <(E_L - <E_L>) grad log|psi|>."""

    def __init__(
        self,
        ansatz: nn.Module,
        *,
        name: str = "Adam",
        learning_rate: float = 1e-3,
        decay_steps: float | None = 10_000,
        clip: float = 5.0,
        chunk_size: int = 1024,
        options: dict[str, Any] | None = None,
    ) -> None:
        """Create the torch optimiser.

        Args:
            ansatz: the wavefunction to optimise.
            name: class in torch.optim, such as 'Adam', 'AdamW' or 'SGD'.
            learning_rate: initial learning rate.
            decay_steps: steps after which the rate has halved; None keeps it constant.
            clip: clipping window of the local energies, in mean absolute deviations; 0 is off.
            chunk_size: walkers differentiated at once.
            options: further keyword arguments of the torch optimiser.

        Raises:
            ValueError: for an unknown name or a setting out of range.
        """
        known = sorted(key for key, value in vars(torch.optim).items() if isinstance(value, type))
        known = [key for key in known if key not in NOT_FIRST_ORDER]
        if name not in known:
            raise ValueError(f"optimizer name={name!r} must be a class of torch.optim: {', '.join(known)}")
        check_positive(learning_rate=learning_rate, chunk_size=chunk_size)
        self.settings = {"name": name, "learning_rate": learning_rate, "decay_steps": decay_steps}
        self.settings |= {"clip": clip, "chunk_size": chunk_size, "options": options or {}}
        self.ansatz, self.rate, self.decay_steps = ansatz, learning_rate, decay_steps
        self.clip, self.chunk_size, self.step = clip, chunk_size, 0
        kind = getattr(torch.optim, name)
        try:
            self.optimizer = kind(ansatz.parameters(), lr=learning_rate, **(options or {}))
        except TypeError as error:
            raise ValueError(f"optimizer options={options} do not suit {name}: {error}") from error

    def update(self, positions: Tensor, local_energy: Tensor) -> dict[str, Tensor | float]:
        """Change the parameters of the ansatz once.

        Args:
            positions: electron positions, shape (B, N, 3), in bohr.
            local_energy: shape (B,), in hartree.

        Returns:
            Statistics of the update.
        """
        weights, clipped = centred_energies(local_energy, self.clip)
        positions = without_lost_walkers(positions, local_energy)
        count = torch.isfinite(local_energy).sum().clamp(min=1)
        weights = (2 * weights / count).to(positions.dtype)
        self.optimizer.zero_grad()
        for part, weight in zip(positions.split(self.chunk_size), weights.split(self.chunk_size), strict=True):
            _, log_abs_psi = self.ansatz(part)
            (weight * log_abs_psi).sum().backward()
        rate = inverse_decay(self.rate, self.step, self.decay_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        gradients = [p.grad for p in self.ansatz.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        self.optimizer.step()
        self.step += 1
        return {"grad_norm": norm, "clipped_share": clipped, "learning_rate": rate}

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {"step": self.step, "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state.

        Args:
            state: what `state_dict` returned.
        """
        self.step = state["step"]
        self.optimizer.load_state_dict(state["optimizer"])
