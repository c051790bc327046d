"""Per-walker scores d log|psi| / d theta, and d arg psi / d theta of complex wavefunctions.

One batched forward pass is followed by a backward pass for each of the G functions of `factors`. Hooks keep the
input of every module that owns parameters, and autograd gives the signal arriving at its output. A linear layer needs
no more than these two; the scores of any other module are its own vector-Jacobian product, batched over walkers, and
what no module shows is the same product of the wavefunction as a whole. Frozen parameters have no scores.

Letters: B walkers, G functions of a walker, P trained parameters, M rows of a walker (electrons, pairs), F features.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from qmcnet.compute.kernels import Linear
from qmcnet.optimizers.gradient import trained_parameters
from qmcnet.optimizers.operator import LayerScores, ScoreOperator, Slot, joined, split_columns
from qmcnet.optimizers.recording import Call, Whole, inputs_and_signals


def module_scores(module: nn.Module, names: Iterable[str], call: Call) -> dict[str, Tensor]:
    """Scores of any module by its vector-Jacobian product, batched over walkers.

    Args:
        module: treats walkers independently.
        names: its parameters whose scores are wanted.
        call: its arguments, and the derivative with respect to its output.

    Returns:
        Scores of each of these parameters, (B G, *shape).
    """
    parameters = {name: module.get_parameter(name).detach() for name in names}

    def row(value: Any) -> Any:
        """Make a tensor of one walker a batch of one."""
        return value[None] if isinstance(value, Tensor) else value

    def axis(value: Any) -> int | None:
        """Tell vmap where the walkers are."""
        return 0 if isinstance(value, Tensor) else None

    def contracted(
        values: dict[str, Tensor], arguments: tuple[Any, ...], keywords: dict[str, Any], signal: Tensor
    ) -> Tensor:
        """Contract the output of one walker with its signal."""
        one_walker = (tuple(map(row, arguments)), {name: row(value) for name, value in keywords.items()})
        output: Tensor = functional_call(module, values, *one_walker)
        return (output[0] * signal.conj()).real.sum()

    axes = (None, tuple(map(axis, call.arguments)), {name: axis(value) for name, value in call.keywords.items()}, 0)
    batched: Any = torch.func.vmap(torch.func.grad(contracted), in_dims=axes)
    scores: dict[str, Tensor] = batched(parameters, call.arguments, call.keywords, call.signal)
    return scores


def is_plain_linear(module: nn.Module) -> bool:
    """Say whether a module is known to do no more than multiply by its weight and add its bias.

    Args:
        module: any module.

    Returns:
        Whether it is a linear layer, of no derived class, without hooks and with the forward pass of its class.
    """
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return type(module) in (nn.Linear, Linear) and not any(hooks) and "forward" not in vars(module)


def rows(tensors: Sequence[Tensor]) -> Tensor:
    """Collect the rows of every call of a layer.

    Args:
        tensors: one per call, each (B, ..., F).

    Returns:
        Shape (B, M, F).
    """
    first, *others = [tensor.reshape(len(tensor), -1, tensor.shape[-1]) for tensor in tensors]
    return torch.cat([first, *others], 1) if others else first


def layer_scores(
    module: nn.Linear, names: Iterable[str], calls: Sequence[Call], starts: dict[nn.Parameter, int]
) -> LayerScores:
    """Scores of a linear layer.

    Args:
        module: the layer.
        names: its parameters that are trained, the weight before the bias.
        calls: its calls, each with the one input of a linear layer.
        starts: where each parameter starts in the vector of all.

    Returns:
        Inputs, followed by a column of ones for the bias, and signals.
    """
    inputs = rows([value for call in calls for value in (*call.arguments, *call.keywords.values())])
    ones = inputs.new_ones(*inputs.shape[:2], 1)
    columns, slots = [], []
    for name in names:
        parameter, column = module.get_parameter(name), inputs if name == "weight" else ones
        columns.append(column)
        slots.append(Slot(starts[parameter], module.out_features, column.shape[-1]))
    joint = torch.cat(columns, -1) if len(columns) > 1 else columns[0]
    return LayerScores(joint, rows([call.signal for call in calls]), tuple(slots))


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


def parameter_starts(ansatz: nn.Module) -> tuple[dict[nn.Parameter, int], int]:
    """Place the trained parameters one after the other.

    Args:
        ansatz: the wavefunction.

    Returns:
        Where each trained parameter starts in the vector of all, and the length P of that vector.
    """
    starts: dict[nn.Parameter, int] = {}
    total = 0
    for parameter in trained_parameters(ansatz).values():
        starts[parameter] = total
        total += parameter.numel()
    return starts, total


def chunk_layers(
    ansatz: nn.Module, positions: Tensor, starts: dict[nn.Parameter, int], unfit: set[nn.Module]
) -> tuple[list[LayerScores], dict[int, Tensor]]:
    """Scores of a few walkers, each in the form in which it arises.

    Args:
        ansatz: the wavefunction.
        positions: electron positions, shape (B, N, 3), in bohr.
        starts: where each parameter starts in the vector of all.
        unfit: modules of which a call in an earlier chunk could not be repeated for a single walker; more are added.
            A last chunk may be so small that another axis is as long as that of its walkers.

    Returns:
        Scores of linear layers as inputs and signals, and of every other parameter (B G, *shape), by its start.
    """
    modules, more, whole_call = inputs_and_signals(ansatz, positions)
    unfit |= more
    users = Counter(parameter for module in modules for parameter in module.parameters(recurse=False))
    lost = {parameter for module in unfit for parameter in module.parameters(recurse=False)} | (starts.keys() - users)
    layers: list[LayerScores] = []
    others: dict[int, Tensor] = {}

    def add(module: nn.Module, names: dict[str, nn.Parameter], call: Call) -> None:
        """Add the scores of a call."""
        for name, scores in module_scores(module, names, call).items():
            start = starts[names[name]]
            others[start] = others[start] + scores if start in others else scores

    for module, calls in modules.items():
        own = module.named_parameters(recurse=False)
        names = {name: value for name, value in own if value in starts and value not in lost}
        if names and is_plain_linear(module) and all(users[parameter] == 1 for parameter in names.values()):
            assert isinstance(module, nn.Linear)
            layers.append(layer_scores(module, names, calls, starts))
        elif names:
            for call in calls:
                add(module, names, call)
    whole = Whole(ansatz)
    if names := {name: value for name, value in trained_parameters(whole).items() if value in lost}:
        add(whole, names, whole_call)
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
def score_operator(ansatz: nn.Module, positions: Tensor, chunk_size: int, count: int | None = None) -> ScoreOperator:
    """Scores of every walker, as a linear operator.

    Args:
        ansatz: the wavefunction.
        positions: electron positions, shape (B, N, 3), in bohr.
        chunk_size: walkers differentiated at once, which bounds the memory of the backward pass.
        count: number of walkers of all processes, where these are those of one.

    Returns:
        Scores (B G, P), parameters in the order of `trained_parameters`.
    """
    starts, n_parameters = parameter_starts(ansatz)
    unfit: set[nn.Module] = set()
    chunks = [smallest_form(*chunk_layers(ansatz, part, starts, unfit)) for part in positions.split(chunk_size)]
    return ScoreOperator(joined(chunks), n_parameters, count or len(positions))


def per_walker_scores(ansatz: nn.Module, positions: Tensor, chunk_size: int) -> Tensor:
    """Scores of every walker.

    Args:
        ansatz: the wavefunction.
        positions: electron positions, shape (B, N, 3), in bohr.
        chunk_size: walkers differentiated at once, which bounds the memory of the backward pass.

    Returns:
        Scores, shape (B G, P), parameters in the order of `trained_parameters`.
    """
    return score_operator(ansatz, positions, chunk_size).dense()
