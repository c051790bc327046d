"""Comparing the forward Laplacian with the function itself, once, before its numbers are believed."""

import torch
from torch import Tensor

from qmcnet.protocols import Derivatives, Function

WALKERS = 4
"""Walkers that are compared."""

REPEATS = 4
"""Evaluations a walker, at positions that differ by rounding, which show how far rounding moves the function."""

MARGIN = 1000
"""How far apart two routes may be, in units of the largest move that rounding was seen to make."""


def compare(function: Function, positions: Tensor, derivatives: Derivatives) -> None:
    """Refuse derivatives that belong to another function than the one that is sampled.

    The function is evaluated at the positions of a few walkers, and at copies of them moved by a few units in the last
    place. How far its values and gradients scatter is what rounding does to them, however large or wild they are.
    Numbers that are not finite are not compared: they are counted with the energies.

    Args:
        function: maps positions (B, N, 3) to values (B, ...).
        positions: shape (B, N, 3), in bohr.
        derivatives: of the function, at the positions.

    Raises:
        ValueError: if value or gradient differs from torch's by more than rounding explains.
    """
    if positions.is_meta:
        return
    points = _repeated(positions[:WALKERS])  # (REPEATS, B, N, 3)
    with torch.inference_mode(False), torch.enable_grad():
        leaf = points.flatten(0, 1).clone().requires_grad_()
        returned = function(leaf.clone())  # writing into its argument does not reach the leaf
        values = returned[0] if isinstance(returned, tuple) else returned
        gradients = _gradients(values, leaf)
    value, gradient = derivatives.value[:WALKERS], derivatives.gradient[:WALKERS]
    _refuse("value", value, values.detach().unflatten(0, points.shape[:2]))
    if gradients is not None:
        combined = (gradient * _weights(value)[..., None, None]).reshape(len(value), -1, *gradient.shape[-2:]).sum(1)
        _refuse("gradient", combined, gradients.unflatten(0, points.shape[:2]))


def _repeated(positions: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    steps = torch.randint(-4, 5, (REPEATS, *positions.shape), generator=generator)
    steps[0] = 0
    return positions + steps.to(positions) * torch.finfo(positions.dtype).eps * positions.abs().clamp(min=1)


def _weights(values: Tensor) -> Tensor:
    """Weights that make one number of the values of a walker (B, ...), shape (1, ...)."""
    shape = values.shape[1:]
    return torch.linspace(1, 2, shape.numel(), device=values.device).to(values.real.dtype).reshape(1, *shape)


def _gradients(values: Tensor, leaf: Tensor) -> Tensor | None:
    """Differentiate the values, in one combination, or return None where autograd cannot follow the function."""
    total = (values * _weights(values)).sum()
    parts = [total.real, total.imag] if total.is_complex() else [total]
    try:
        found = [torch.autograd.grad(part, leaf, retain_graph=True)[0] for part in parts]
    except RuntimeError:  # such as one that writes over what a backward pass needs, which a forward one does not mind
        return None
    return torch.complex(*found) if len(found) == 2 else found[0]


def _refuse(what: str, found: Tensor, repeated: Tensor) -> None:
    """Compare the numbers of walkers, shape (B, ...), with evaluations of torch, shape (REPEATS, B, ...)."""
    expected = repeated[0]
    if found.is_complex() and not expected.is_complex():
        found = found.real  # of a complex logarithm torch has the modulus alone
    noise = (repeated - expected).abs().amax(0) + torch.finfo(expected.dtype).eps * expected.abs().clamp(min=1)
    noise = noise.reshape(len(noise), -1).amax(1)
    apart = _modulo_phase(found - expected).abs().reshape(len(noise), -1).amax(1)
    ratio = (apart / noise).nan_to_num(0, 0, 0)
    worst = ratio.argmax()
    if float(ratio[worst]) > MARGIN:
        raise ValueError(
            f"the forward Laplacian's {what} of the wavefunction is {float(apart[worst]):.3g} away from torch's, and "
            f"rounding explains {float(noise[worst]):.1g}: a rule tracks an operation wrongly, or part of the "
            "wavefunction is hidden from autograd; mend the rule, or use the back end laplacian=torch_func"
        )


def _modulo_phase(difference: Tensor) -> Tensor:
    """Count i pi and -i pi as one phase of a logarithm."""
    if not difference.is_complex():
        return difference
    turn = 2 * torch.pi
    return torch.complex(difference.real, torch.remainder(difference.imag + torch.pi, turn) - torch.pi)
