"""What the modules of a wavefunction were called with, and the signals that arrive at what they returned.

Hooks see every call of a module that owns trained parameters. The module is handed back a copy of its output, so that
an operation in place on it (h = layer(r); h *= 2) leaves the signal that of the output itself.

A call that can be repeated for a single walker gives the scores of its module. Calls that cannot (a tensor without an
axis for walkers, an input changed in place, an output that is no tensor), and parameters that no call shows at all
(a weight that is only read, a parametrised weight, a parameter of the wavefunction itself), leave the scores to the
call of the wavefunction as a whole.

Letters: B walkers, G functions of a walker.
"""

from collections import defaultdict
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class Call:
    """A call of a module, ready to be repeated walker by walker.

    Attributes:
        arguments: its positional arguments; every tensor has an axis of length B G in front.
        keywords: its arguments by name, likewise.
        signal: derivative of the functions with respect to the output, shape (B G, ...).
    """

    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    signal: Tensor


class Whole(nn.Module):
    """The wavefunction as a module that returns one tensor: the functions that are differentiated."""

    def __init__(self, ansatz: nn.Module) -> None:
        """Wrap a wavefunction.

        Args:
            ansatz: the wavefunction.
        """
        super().__init__()
        self.ansatz = ansatz

    def forward(self, positions: Tensor) -> Tensor:
        """Evaluate the functions.

        Args:
            positions: electron positions, shape (B, N, 3), in bohr.

        Returns:
            Shape (B, G).
        """
        factors: Tensor = self.ansatz.factors(positions)  # type: ignore[operator]
        return factors

    factors = forward


@dataclass
class Seen:
    """A call as the hooks saw it.

    Attributes:
        module: what was called.
        arguments: positional arguments.
        keywords: arguments by name.
        versions: how often each tensor among them had been changed in place before the call.
        shape: of the output; None if no tensor came back.
        edge: where the output stands in the graph of the pass, if it stands there at all.
    """

    module: nn.Module
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    versions: list[int] = field(default_factory=list)
    shape: torch.Size | None = None
    edge: GradientEdge | None = None

    def values(self) -> list[Any]:
        """List all arguments."""
        return [*self.arguments, *self.keywords.values()]

    def current_versions(self) -> list[int]:
        """Count the changes in place of each tensor among the arguments."""
        return [value._version for value in self.values() if isinstance(value, Tensor)]

    def is_repeatable(self, count: int) -> bool:
        """Say whether the call can be repeated walker by walker.

        Args:
            count: number of walkers B.

        Returns:
            Whether tensors of B rows, and nothing else that holds numbers, went in, unchanged since, and one came out.
        """
        tensors = [value for value in self.values() if isinstance(value, Tensor)]
        others = [value for value in self.values() if not isinstance(value, Tensor)]
        return (
            self.shape is not None
            and bool(tensors)
            and all(shape[:1] == (count,) for shape in [self.shape, *(tensor.shape for tensor in tensors)])
            and all(isinstance(value, PLAIN) for value in others)
            and self.versions == self.current_versions()
        )

    def with_signal(self, signals: Sequence[Tensor | None]) -> Call:
        """Join the signals of the functions to the arguments.

        Args:
            signals: for each function, shape (B, ...), or none where it does not depend on the output.

        Returns:
            The call.
        """
        assert self.shape is not None
        tensor = next(value for value in self.values() if isinstance(value, Tensor))
        parts = [tensor.new_zeros(self.shape) if signal is None else signal for signal in signals]

        def repeated(value: Any) -> Any:
            """Put the functions of a walker in a row."""
            return interleaved([value.detach()] * len(parts)) if isinstance(value, Tensor) else value

        keywords = {name: repeated(value) for name, value in self.keywords.items()}
        return Call(tuple(repeated(value) for value in self.arguments), keywords, interleaved(parts))


@contextmanager
def recorded_calls(ansatz: nn.Module) -> Generator[list[Seen], None, None]:
    """Record every call of a module that owns trained parameters.

    Args:
        ansatz: the wavefunction.

    Yields:
        A list that fills with calls as the ansatz is evaluated.
    """
    calls: list[Seen] = []
    begun: dict[nn.Module, list[Seen]] = defaultdict(list)

    def before(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        """Note what a module is called with."""
        call = Seen(module, arguments, keywords)
        call.versions = call.current_versions()
        begun[module].append(call)
        calls.append(call)

    def after(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> Any:
        """Note what it returns, and hand back a copy."""
        call = begun[module].pop()
        if not isinstance(output, Tensor):
            return output
        call.shape = output.shape
        if not output.requires_grad:
            return output
        call.edge = get_gradient_edge(output)
        return output.clone()

    # What the ansatz itself returns is no tensor. Arguments are taken before a user's hooks, the output after them.
    parts = [module for module in ansatz.modules() if module is not ansatz]
    owners = [part for part in parts if any(value.requires_grad for value in part.parameters(recurse=False))]
    handles = [owner.register_forward_pre_hook(before, prepend=True, with_kwargs=True) for owner in owners]
    handles += [owner.register_forward_hook(after, with_kwargs=True) for owner in owners]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def inputs_and_signals(
    ansatz: nn.Module, positions: Tensor
) -> tuple[dict[nn.Module, list[Call]], set[nn.Module], Call]:
    """Evaluate the ansatz and differentiate it with respect to the output of every module that owns parameters.

    Args:
        ansatz: the wavefunction.
        positions: electron positions, shape (B, N, 3), in bohr.

    Returns:
        The calls of every module that was called; those of these modules of which a call cannot be repeated for a
        single walker; and the call of `Whole(ansatz)`.
    """
    with torch.enable_grad(), recorded_calls(ansatz) as seen:
        functions = ansatz.factors(positions).unbind(-1)  # type: ignore[operator]  # G of (B,)
        edges, last = [call.edge for call in seen if call.edge is not None], len(functions) - 1
        signals = [
            torch.autograd.grad(function.sum(), edges, retain_graph=g < last, allow_unused=True) if edges else ()
            for g, function in enumerate(functions)
        ]
    parts = iter(zip(*signals, strict=True))
    calls: dict[nn.Module, list[Call]] = defaultdict(list)
    unfit: set[nn.Module] = set()
    for call in seen:
        signal = [None] * len(functions) if call.edge is None else next(parts)
        shared = any(value is ansatz.nuclei for value in call.values())  # the same for all walkers
        if call.is_repeatable(len(positions)) and not shared:
            calls[call.module].append(call.with_signal(signal))
        else:
            calls[call.module], unfit = [], unfit | {call.module}
    units = torch.eye(len(functions), dtype=functions[0].dtype, device=positions.device)
    signals_of_whole = [unit.expand(len(positions), -1) for unit in units]  # each (B, G)
    whole = Seen(ansatz, (positions,), {}, shape=signals_of_whole[0].shape).with_signal(signals_of_whole)
    return calls, unfit, whole


def interleaved(parts: Sequence[Tensor]) -> Tensor:
    """Put what belongs to a walker in a row.

    Args:
        parts: for each of the G functions, shape (B, ...).

    Returns:
        Shape (B G, ...); a single part as it is.
    """
    return parts[0] if len(parts) == 1 else torch.stack(tuple(parts), 1).flatten(0, 1)
