"""First-order optimisers: any of torch.optim's kind on the score-based energy gradient."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from qmcnet.compute.chunks import Chunks
from qmcnet.optimizers.gradient import (
    centred,
    check_positive,
    energy_components,
    log_components,
    without_lost_walkers,
)


class FirstOrder:
    """A torch optimiser fed with grad E = 2 <(E_L - <E_L>) grad log|psi|>."""

    def __init__(
        self,
        ansatz: nn.Module,
        *,
        method: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
        learning_rate: float = 1e-3,
        max_grad_norm: float | None = None,
        chunk_size: int = 1024,
    ) -> None:
        """Create the torch optimiser.

        Args:
            ansatz: the wavefunction to optimise.
            method: a torch optimiser that needs one dense gradient a step, with further arguments by
                `functools.partial` if need be, such as `partial(torch.optim.SGD, momentum=0.9)`.
            learning_rate: learning rate, which a schedule scales.
            max_grad_norm: longest gradient, in hartree; a longer one is shortened to it. None is off.
            chunk_size: most walkers differentiated at once; fewer where the memory asks for it.

        Raises:
            ValueError: for a method that is no such optimiser or a setting out of range.
        """
        check_positive(learning_rate=learning_rate, chunk_size=chunk_size)
        if max_grad_norm is not None:
            check_positive(max_grad_norm=max_grad_norm)
        name, arguments = described(method)
        if "lr" in arguments:
            raise ValueError(f"method lr={arguments['lr']}: give the rate as learning_rate")
        self.settings = {"method": {"_target_": name, "_partial_": True, **arguments}, "learning_rate": learning_rate}
        self.settings |= {"max_grad_norm": max_grad_norm, "chunk_size": chunk_size}
        self.ansatz, self.learning_rate = ansatz, learning_rate
        self.max_grad_norm, self.chunks = max_grad_norm, Chunks("optimizer.chunk_size", chunk_size)
        try:
            self.optimizer = method(ansatz.parameters(), lr=learning_rate)
        except TypeError as error:
            raise ValueError(f"method={name} does not take these arguments: {error}") from error
        if not isinstance(self.optimizer, torch.optim.Optimizer) or isinstance(self.optimizer, NOT_FIRST_ORDER):
            raise ValueError(f"method={name} must be a torch optimiser that needs one dense gradient a step")

    def update(self, positions: Tensor, local_energy: Tensor, scale: float = 1.0) -> dict[str, Tensor | float]:
        """Change the parameters of the ansatz once.

        Args:
            positions: electron positions, shape (B, N, 3), in bohr.
            local_energy: real or complex, shape (B,), in hartree; walkers where it is not finite are left out.
            scale: multiplies the learning rate.

        Returns:
            Statistics of the update.
        """
        energies = energy_components(local_energy)  # (B, G)
        finite = energies.isfinite().all(-1)
        positions = without_lost_walkers(positions, finite)
        weights = (2 * centred(energies, finite) / finite.sum().clamp(min=1)).to(positions.dtype)
        self.chunks.run(
            lambda size: self._differentiate(positions, weights, size),
            lambda few: log_components(self.ansatz, few).sum().backward(),
            positions,
        )
        for parameter in self.ansatz.parameters():
            if parameter.grad is not None:  # without a single finite walker there is nothing to learn
                parameter.grad = torch.where(finite.any(), parameter.grad, 0)
        rate = self.learning_rate * scale
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        limit = float("inf") if self.max_grad_norm is None else self.max_grad_norm
        norm = nn.utils.clip_grad_norm_(self.ansatz.parameters(), limit)
        self.optimizer.step()
        return {"grad_norm": norm, "learning_rate": rate}

    def _differentiate(self, positions: Tensor, weights: Tensor, size: int) -> None:
        self.optimizer.zero_grad()
        for part, weight in zip(positions.split(size), weights.split(size), strict=True):
            (weight * log_components(self.ansatz, part)).sum().backward()

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {**self.optimizer.state_dict(), "chunks": dict(self.chunks.sizes)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state.

        Args:
            state: what `state_dict` returned.
        """
        self.chunks.sizes |= state.get("chunks", {})
        self.optimizer.load_state_dict({name: value for name, value in state.items() if name != "chunks"})


NOT_FIRST_ORDER = (torch.optim.LBFGS, torch.optim.SparseAdam)


def described(method: Callable[..., Any]) -> tuple[str, dict[str, Any]]:
    """Name a class, and the arguments that a partial call gives it.

    Args:
        method: a class, or `functools.partial` of one with arguments by name.

    Returns:
        Where it can be imported from, and its arguments.

    Raises:
        ValueError: for what is no class.
    """
    if not callable(method):
        raise ValueError(f"method={method!r} must be a class of torch optimisers")
    target, arguments = (method.func, method.keywords) if isinstance(method, partial) else (method, {})
    return f"{target.__module__}.{target.__qualname__}", dict(arguments)
