"""First-order optimisers: any of torch.optim's kind on the score-based energy gradient."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from qmcnet.checks import at_least, positive
from qmcnet.compute.chunks import Chunks
from qmcnet.compute.team import team
from qmcnet.optimizers.gradient import (
    centred,
    finite_walkers,
    measured,
    sum_gradients,
    trained_parameters,
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
            ValueError: for a method that is no such optimiser, a setting out of range, or an ansatz without a parameter
                to train.
        """
        positive(learning_rate=learning_rate, max_grad_norm=max_grad_norm)
        at_least(1, chunk_size=chunk_size)
        name, arguments = described(method)
        if "lr" in arguments:
            raise ValueError(f"method lr={arguments['lr']}: give the rate as learning_rate")
        self.settings = {"method": {"_target_": name, "_partial_": True, **arguments}, "learning_rate": learning_rate}
        self.settings |= {"max_grad_norm": max_grad_norm, "chunk_size": chunk_size}
        self.ansatz, self.learning_rate, self.trained = ansatz, learning_rate, trained_parameters(ansatz)
        self.max_grad_norm, self.chunks = max_grad_norm, Chunks("optimizer.chunk_size", chunk_size)
        try:
            self.optimizer = method(list(self.trained.values()), lr=learning_rate)
        except TypeError as error:
            raise ValueError(f"method={name} does not take these arguments: {error}") from error
        if not isinstance(self.optimizer, torch.optim.Optimizer) or isinstance(self.optimizer, NOT_FIRST_ORDER):
            raise ValueError(f"method={name} must be a torch optimiser that needs one dense gradient a step")
        self.optimizer.param_groups[:] = [self._counted_on_device(group) for group in self.optimizer.param_groups]

    def _counted_on_device(self, group: dict[str, Any]) -> dict[str, Any]:
        """Let a method that can do so count its steps where the parameters are."""
        on_device = next(iter(self.trained.values())).is_cuda
        return group | {"capturable": on_device} if "capturable" in group else group

    def update(self, positions: Tensor, local_energy: Tensor, scale: float = 1.0) -> dict[str, Tensor | float]:
        """Change the parameters of the ansatz once.

        Without a finite walker, or with a gradient that is not finite, there is nothing to learn: such an update leaves
        the parameters and the state of the method as they were.

        Args:
            positions: electron positions, shape (B, N, 3), in bohr.
            local_energy: energies that go with the factors, shape (B, G), in hartree; walkers where one is not finite
                are left out.
            scale: multiplies the learning rate.

        Returns:
            Statistics of the update; `skipped` says whether it was left out.
        """
        finite = finite_walkers(local_energy)
        weights = (2 * centred(local_energy, finite) / finite.sum().clamp(min=1)).to(positions.dtype)
        own, weights = map(team().share, (without_lost_walkers(positions, finite), weights))
        self.chunks.run(
            lambda size: self._differentiate(own, weights, size),
            lambda few: self.factors(few).sum().backward(),
            own,
        )
        sum_gradients(self.trained.values())
        rate = self.learning_rate * scale
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        limit = float("inf") if self.max_grad_norm is None else self.max_grad_norm
        norm = nn.utils.clip_grad_norm_(self.trained.values(), limit)
        kept = finite.any() & norm.isfinite()
        if kept.is_cuda:
            step_without_waiting(self.optimizer, kept)
        elif kept.is_meta or kept:  # shapes alone, whose memory is predicted, have no answer
            self.optimizer.step()
        return {**measured(kept, {"grad_norm": norm}), "learning_rate": rate, "skipped": ~kept}

    def __deepcopy__(self, memo: dict[int, Any]) -> "FirstOrder":
        """Copy all that the method has; optimisers of torch copy what torch knows of, and leave out the rest."""
        twin, method = object.__new__(type(self)), object.__new__(type(self.optimizer))
        memo |= {id(self): twin, id(self.optimizer): method}
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        method.__dict__.update(copy.deepcopy(self.optimizer.__dict__, memo))
        return twin

    def factors(self, positions: Tensor) -> Tensor:
        """Evaluate what is differentiated.

        Args:
            positions: electron positions, shape (B, N, 3), in bohr.

        Returns:
            Shape (B, G).
        """
        factors: Tensor = self.ansatz.factors(positions)  # type: ignore[operator]
        return factors

    def _differentiate(self, positions: Tensor, weights: Tensor, size: int) -> None:
        self.optimizer.zero_grad()
        for part, weight in zip(positions.split(size), weights.split(size), strict=True):
            (weight * self.factors(part)).sum().backward()

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {**self.optimizer.state_dict(), "chunks": self.chunks.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state.

        Args:
            state: what `state_dict` returned.

        Raises:
            ValueError: for a state of other parameters than are trained.
        """
        groups = [self._counted_on_device(group) for group in state["param_groups"]]
        count = sum(len(group["params"]) for group in groups)
        if count != len(self.trained):
            raise ValueError(
                f"the saved optimiser trained {count} parameters, but the ansatz has {len(self.trained)} to train: "
                "freeze the same parameters as the run that saved it"
            )
        self.chunks.load_state_dict(state.get("chunks", {}))
        own = {name: value for name, value in state.items() if name != "chunks"}
        self.optimizer.load_state_dict(own | {"param_groups": groups})


@torch.no_grad()
def step_without_waiting(optimizer: torch.optim.Optimizer, kept: Tensor) -> None:
    """Make a step and take it back unless it is kept, without asking the device which.

    What a method counts on the host goes on all the same.

    Args:
        optimizer: has gradients; changed.
        kept: whether the step counts, on the device of the parameters.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    before = [parameter.clone() for parameter in parameters]
    state = [{name: copied(value) for name, value in optimizer.state[parameter].items()} for parameter in parameters]
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad = torch.where(kept, parameter.grad, 0)
    optimizer.step()
    for parameter, old, held in zip(parameters, before, state, strict=True):
        parameter.copy_(torch.where(kept, parameter, old))
        for name, value in optimizer.state[parameter].items():
            if isinstance(value, Tensor) and value.device == kept.device:
                # The first step begins with a state that a gradient of zero leaves alone, but for its counter.
                old = held.get(name, torch.zeros_like(value) if name == "step" else value)
                value.copy_(torch.where(kept, value, old))


def copied(value: Any) -> Any:
    """Copy a tensor.

    Args:
        value: a tensor or anything else.

    Returns:
        The copy, or the same.
    """
    return value.clone() if isinstance(value, Tensor) else value


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
