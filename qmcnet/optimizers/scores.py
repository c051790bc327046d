"""Per-walker scores d log|psi| / d theta, and d arg psi / d theta of complex wavefunctions.

One batched forward pass is followed by a backward pass for each of the G functions of `log_components`. Hooks keep the
input of every module that owns parameters, and autograd gives the signal arriving at its output. A linear layer needs
no more than these two; the scores of any other module are its own vector-Jacobian product, batched over walkers.

Letters: B walkers, G functions of a walker, P parameters, M rows of a walker (electrons, pairs), F features.
"""

from collections import Counter, defaultdict
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from qmcnet.optimizers.gradient import log_components
from qmcnet.optimizers.operator import LayerScores, ScoreOperator, Slot, joined, split_columns

Call = tuple[tuple[Tensor, ...], Tensor]


@contextmanager
def recorded_calls(ansatz: nn.Module) -> Generator[list[tuple[nn.Module, tuple[Tensor, ...], Tensor]], None, None]:
    """Record every call of a module that owns parameters.

    Args:
        ansatz: the wavefunction.

    Yields:
        A list that fills with (module, inputs, output) as the ansatz is evaluated.
    """
    calls: list[tuple[nn.Module, tuple[Tensor, ...], Tensor]] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls.append((module, tuple(tensor.detach() for tensor in inputs), output))

    # What the ansatz itself returns is no tensor, and cannot give the signals of parameters that it owns itself.
    parts = [module for module in ansatz.modules() if module is not ansatz]
    owners = [module for module in parts if next(module.parameters(recurse=False), None) is not None]
    handles = [module.register_forward_hook(keep) for module in owners]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def inputs_and_signals(ansatz: nn.Module, positions: Tensor) -> dict[nn.Module, list[Call]]:
    """Evaluate the ansatz and differentiate it with respect to the output of every module that owns parameters.

    Args:
        ansatz: the wavefunction.
        positions: electron positions, shape (B, N, 3), in bohr.

    Returns:
        Of every module, for each of its calls, the inputs and the derivatives of the functions, each (B G, ...).
    """
    with torch.enable_grad(), recorded_calls(ansatz) as calls:
        functions = log_components(ansatz, positions).sum(0)  # (G,)
        outputs, last = [output for _, _, output in calls], len(functions) - 1
        signals = [
            torch.autograd.grad(function, outputs, retain_graph=g < last) for g, function in enumerate(functions)
        ]
    modules: dict[nn.Module, list[Call]] = defaultdict(list)
    for (module, inputs, _), *parts in zip(calls, *signals, strict=True):
        repeated = tuple(interleaved([tensor] * len(parts)) for tensor in inputs)
        modules[module].append((repeated, interleaved(parts)))
    return modules


def interleaved(parts: Sequence[Tensor]) -> Tensor:
    """Put what belongs to a walker in a row.

    Args:
        parts: for each of the G functions, shape (B, ...).

    Returns:
        Shape (B G, ...); a single part as it is.
    """
    return parts[0] if len(parts) == 1 else torch.stack(tuple(parts), 1).flatten(0, 1)


def module_scores(module: nn.Module, inputs: tuple[Tensor, ...], signal: Tensor) -> dict[str, Tensor]:
    """Scores of any module by its vector-Jacobian product, batched over walkers.

    Args:
        module: owns parameters and treats walkers independently.
        inputs: its inputs, each (B, ...).
        signal: derivative with respect to its output, (B, ...).

    Returns:
        Scores of each of its parameters, (B, *shape).
    """
    parameters = {name: tensor.detach() for name, tensor in module.named_parameters(recurse=False)}

    def contracted(values: dict[str, Tensor], walker: tuple[Tensor, ...], cotangent: Tensor) -> Tensor:
        output: Tensor = functional_call(module, values, tuple(tensor[None] for tensor in walker))
        return (output[0] * cotangent.conj()).real.sum()

    batched: Any = torch.func.vmap(torch.func.grad(contracted), in_dims=(None, 0, 0))
    scores: dict[str, Tensor] = batched(parameters, inputs, signal)
    return scores


def rows(tensors: Sequence[Tensor]) -> Tensor:
    """Collect the rows of every call of a layer.

    Args:
        tensors: one per call, each (B, ..., F).

    Returns:
        Shape (B, M, F).
    """
    first, *others = [tensor.reshape(len(tensor), -1, tensor.shape[-1]) for tensor in tensors]
    return torch.cat([first, *others], 1) if others else first


def layer_scores(module: nn.Linear, calls: Sequence[Call], starts: dict[Tensor, int]) -> LayerScores:
    """Scores of a linear layer.

    Args:
        module: the layer.
        calls: its calls.
        starts: where each parameter starts in the vector of all.

    Returns:
        Inputs, followed by a column of ones for the bias, and signals.
    """
    inputs, signals = rows([inputs[0] for inputs, _ in calls]), rows([signal for _, signal in calls])
    weight = Slot(starts[module.weight], *module.weight.shape)
    if module.bias is None:
        return LayerScores(inputs, signals, (weight,))
    inputs = torch.cat([inputs, inputs.new_ones(*inputs.shape[:2], 1)], -1)
    return LayerScores(inputs, signals, (weight, Slot(starts[module.bias], len(module.bias), 1)))


def single_layer(scores: dict[int, Tensor]) -> LayerScores:
    """Take scores for the inputs of a layer with one output, one row a walker, and signals of one.

    Args:
        scores: of each parameter, by where it starts in the vector of all, (B, *shape).

    Returns:
        The layer.
    """
    flat = {start: part.reshape(len(part), -1) for start, part in scores.items()}
    inputs = torch.cat(list(flat.values()), -1)[:, None]  # (B, 1, F)
    slots = tuple(Slot(start, 1, part.shape[-1]) for start, part in flat.items())
    return LayerScores(inputs, inputs.new_ones(len(inputs), 1, 1), slots)


def parameter_starts(ansatz: nn.Module) -> tuple[dict[Tensor, int], int]:
    """Place the parameters one after the other.

    Args:
        ansatz: the wavefunction.

    Returns:
        Where each parameter starts in the vector of all, and the length P of that vector.
    """
    starts: dict[Tensor, int] = {}
    total = 0
    for parameter in ansatz.parameters():
        starts[parameter] = total
        total += parameter.numel()
    return starts, total


def chunk_layers(
    ansatz: nn.Module, positions: Tensor, starts: dict[Tensor, int]
) -> tuple[list[LayerScores], dict[int, Tensor]]:
    """Scores of a few walkers, each in the form in which it arises.

    Args:
        ansatz: the wavefunction.
        positions: electron positions, shape (B, N, 3), in bohr.
        starts: where each parameter starts in the vector of all.

    Returns:
        Scores of linear layers as inputs and signals, and of every other parameter (B G, *shape), by its start.

    Raises:
        ValueError: for a parameter that belongs to no module that was called.
    """
    modules = inputs_and_signals(ansatz, positions)
    users = Counter(parameter for module in modules for parameter in module.parameters(recurse=False))
    if lost := [name for name, parameter in ansatz.named_parameters() if parameter not in users]:
        raise ValueError(f"ansatz: parameters {lost} must each belong to a module that is called")
    layers: list[LayerScores] = []
    others: dict[int, Tensor] = {}
    for module, calls in modules.items():
        if isinstance(module, nn.Linear) and all(users[parameter] == 1 for parameter in module.parameters()):
            layers.append(layer_scores(module, calls, starts))
            continue
        for inputs, signal in calls:
            scores = module_scores(module, inputs, signal)
            for name, parameter in module.named_parameters(recurse=False):
                start = starts[parameter]
                others[start] = others[start] + scores[name] if start in others else scores[name]
    return layers, others


def smallest_form(layers: Sequence[LayerScores], others: dict[int, Tensor]) -> list[LayerScores]:
    """Form the scores of linear layers where these take less memory than inputs and signals.

    Args:
        layers: linear layers.
        others: scores of every other parameter, (B, *shape), by its start.

    Returns:
        Linear layers left as they are, and last of all everything else as one layer.
    """
    kept = [layer for layer in layers if layer.is_smaller_than_scores()]
    for layer in layers:
        if not layer.is_smaller_than_scores():
            scores = layer.signals.mT @ layer.inputs  # (B, F_out, F_in)
            others = others | {slot.start: part for slot, part in split_columns(layer.slots, scores)}
    return [*kept, single_layer(others)] if others else kept


@torch.no_grad()
def score_operator(ansatz: nn.Module, positions: Tensor, chunk_size: int) -> ScoreOperator:
    """Scores of every walker, as a linear operator.

    Args:
        ansatz: the wavefunction; every parameter belongs to a module called with positional tensors.
        positions: electron positions, shape (B, N, 3), in bohr.
        chunk_size: walkers differentiated at once, which bounds the memory of the backward pass.

    Returns:
        Scores (B G, P), parameters in the order of `ansatz.parameters()`.
    """
    starts, n_parameters = parameter_starts(ansatz)
    chunks = [smallest_form(*chunk_layers(ansatz, part, starts)) for part in positions.split(chunk_size)]
    return ScoreOperator(joined(chunks), n_parameters)


def per_walker_scores(ansatz: nn.Module, positions: Tensor, chunk_size: int) -> Tensor:
    """Scores of every walker.

    Args:
        ansatz: the wavefunction; every parameter belongs to a module called with positional tensors.
        positions: electron positions, shape (B, N, 3), in bohr.
        chunk_size: walkers differentiated at once, which bounds the memory of the backward pass.

    Returns:
        Scores, shape (B G, P), parameters in the order of `ansatz.parameters()`.
    """
    return score_operator(ansatz, positions, chunk_size).dense()
