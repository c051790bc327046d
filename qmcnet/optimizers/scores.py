"""Per-walker scores d log|psi| / d theta by one batched forward and backward pass.

Hooks keep the input of every module that owns parameters, autograd gives the signal arriving at its output, and
the two are contracted walker by walker: an outer product for a linear layer, the module's own vector-Jacobian
product, batched over walkers, for any other.

Letters: B walkers, P parameters, F features.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

Call = tuple[nn.Module, tuple[Tensor, ...], Tensor]


@contextmanager
def recorded_calls(ansatz: nn.Module) -> Generator[list[Call], None, None]:
    """Record every call of a module that owns parameters.

    Args:
        ansatz: the wavefunction.

    Yields:
        A list that fills with (module, inputs, output) as the ansatz is evaluated.
    """
    calls: list[Call] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls.append((module, tuple(tensor.detach() for tensor in inputs), output))

    owners = [module for module in ansatz.modules() if next(module.parameters(recurse=False), None) is not None]
    handles = [module.register_forward_hook(keep) for module in owners]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def linear_scores(inputs: Tensor, signal: Tensor, bias: bool) -> dict[str, Tensor]:
    """Scores of a linear layer: the sum of outer products of signals and inputs.

    Args:
        inputs: shape (B, ..., F_in).
        signal: derivative of log|psi| with respect to the output, shape (B, ..., F_out).
        bias: whether the layer has a bias.

    Returns:
        Scores of the weight (B, F_out, F_in) and the bias (B, F_out).
    """
    inputs, signal = inputs.flatten(1, -2), signal.flatten(1, -2)  # (B, M, F)
    scores = {"weight": signal.mT @ inputs}
    return scores | {"bias": signal.sum(1)} if bias else scores


def module_scores(module: nn.Module, inputs: tuple[Tensor, ...], signal: Tensor) -> dict[str, Tensor]:
    """Scores of any module by its vector-Jacobian product, batched over walkers.

    Args:
        module: owns parameters and treats walkers independently.
        inputs: its inputs, each (B, ...).
        signal: derivative of log|psi| with respect to its output, (B, ...).

    Returns:
        Scores of each of its parameters, (B, *shape).
    """
    parameters = {name: tensor.detach() for name, tensor in module.named_parameters(recurse=False)}

    def contracted(values: dict[str, Tensor], walker: tuple[Tensor, ...], cotangent: Tensor) -> Tensor:
        output: Tensor = functional_call(module, values, tuple(tensor[None] for tensor in walker))
        return (output[0] * cotangent).sum()

    batched: Any = torch.func.vmap(torch.func.grad(contracted), in_dims=(None, 0, 0))
    scores: dict[str, Tensor] = batched(parameters, inputs, signal)
    return scores


def scores_of_chunk(ansatz: nn.Module, positions: Tensor) -> Tensor:
    """Scores of a few walkers.

    Args:
        ansatz: the wavefunction.
        positions: electron positions, shape (B, N, 3), in bohr.

    Returns:
        Scores, shape (B, P), parameters in the order of `ansatz.parameters()`.
    """
    with torch.enable_grad(), recorded_calls(ansatz) as calls:
        _, log_abs_psi = ansatz(positions)
        signals = torch.autograd.grad(log_abs_psi.sum(), [output for _, _, output in calls])
    total: dict[nn.Parameter, Tensor] = {}
    for (module, inputs, _), signal in zip(calls, signals, strict=True):
        if isinstance(module, nn.Linear):
            scores = linear_scores(inputs[0], signal, module.bias is not None)
        else:
            scores = module_scores(module, inputs, signal)
        for name, parameter in module.named_parameters(recurse=False):
            total[parameter] = total[parameter] + scores[name] if parameter in total else scores[name]
    return torch.cat([total[parameter].reshape(len(positions), -1) for parameter in ansatz.parameters()], 1)


@torch.no_grad()
def per_walker_scores(ansatz: nn.Module, positions: Tensor, chunk_size: int) -> Tensor:
    """Scores d log|psi| / d theta of every walker, in chunks that bound the memory of the backward pass.

    Args:
        ansatz: the wavefunction; every parameter belongs to a module called with positional tensors.
        positions: electron positions, shape (B, N, 3), in bohr.
        chunk_size: walkers differentiated at once.

    Returns:
        Scores, shape (B, P), parameters in the order of `ansatz.parameters()`.
    """
    n_parameters = sum(parameter.numel() for parameter in ansatz.parameters())
    scores = positions.new_empty(len(positions), n_parameters)
    for rows, part in zip(scores.split(chunk_size), positions.split(chunk_size), strict=True):
        rows.copy_(scores_of_chunk(ansatz, part))
    return scores
