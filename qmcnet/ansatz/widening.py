"""Wider streams of a FermiNet without another wavefunction.

What makes new features of a stream is random, and what reads them is zero: they change nothing until it learns. A layer
adds what comes in where widths are equal, and so psi would change if a width began or ceased to be that of the inputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from qmcnet.ansatz.ferminet import FermiNet

Parameters = dict[str, Tensor]


@dataclass(frozen=True)
class Widening:
    """New features of one stream.

    Attributes:
        network: the wider one.
        before: features of the stream in the other one.
        after: features here.
        generator: source of randomness, on the CPU.
    """

    network: FermiNet
    before: int
    after: int
    generator: torch.Generator

    def is_neutral(self, inputs: int) -> bool:
        """Tell whether the stream can have them.

        Args:
            inputs: features that come into the first layer.

        Returns:
            Whether it becomes wider, and the first layer adds what comes in neither here nor there.
        """
        return 0 < self.before < self.after and inputs not in (self.before, self.after)

    def read(self, weight: Tensor, ends: Sequence[int]) -> Tensor:
        """Let a linear map read new features, with weights of zero.

        Args:
            weight: shape (outputs, inputs).
            ends: where the features of the stream end among the inputs.

        Returns:
            The same with more inputs.
        """
        zeros = weight.new_zeros(len(weight), self.after - self.before)
        parts = weight.tensor_split(list(ends), dim=1)
        return torch.cat([parts[0], *(piece for part in parts[1:] for piece in (zeros, part))], 1)

    def make(self, weight: Tensor, fan_in: int) -> Tensor:
        """Let a linear map make new features.

        Args:
            weight: shape (outputs, inputs), or a bias of shape (outputs,).
            fan_in: inverse of the variance of what is drawn.

        Returns:
            The same with more outputs.
        """
        shape = (self.after - self.before, *weight.shape[1:])
        return torch.cat([weight, torch.randn(shape, generator=self.generator, dtype=weight.dtype) * fan_in**-0.5])


def widen_one(widening: Widening, parameters: Parameters) -> bool:
    """Widen the one-electron stream.

    Args:
        widening: its new features.
        parameters: of the other network; changed.

    Returns:
        Whether psi stays the same.
    """
    network, width = widening.network, widening.before
    if not widening.is_neutral(4 * len(network.molecule.symbols)):
        return False
    spins = len(network.head.orbitals.spins)
    for layer in range(_count(parameters)):
        own, mean, bias = (f"layers.{layer}.{name}" for name in ("own.weight", "mean.weight", "own.bias"))
        if layer:
            parameters[own] = widening.read(parameters[own], [width])
            parameters[mean] = widening.read(parameters[mean], [width * (spin + 1) for spin in range(spins)])
        fan_in = parameters[own].shape[1] + parameters[mean].shape[1]
        parameters |= {name: widening.make(parameters[name], fan_in) for name in (own, mean)}
        parameters[bias] = widening.make(parameters[bias], 1)
    for spin in range(spins):
        name = f"head.orbitals.linear.{spin}.weight"
        parameters[name] = widening.read(parameters[name], [width])
    return True


def widen_two(widening: Widening, parameters: Parameters) -> bool:
    """Widen the two-electron stream.

    Args:
        widening: its new features.
        parameters: of the other network, whose one-electron stream is wide already; changed.

    Returns:
        Whether psi stays the same.
    """
    if not widening.is_neutral(4):
        return False
    width, spins = widening.before, len(widening.network.head.orbitals.spins)
    for layer in range(1, _count(parameters)):
        own, made = f"layers.{layer}.own.weight", f"layers.{layer - 1}.pair"
        first = parameters[own].shape[1] - spins * width
        parameters[own] = widening.read(parameters[own], [first + width * (spin + 1) for spin in range(spins)])
        if layer > 1:
            parameters[f"{made}.weight"] = widening.read(parameters[f"{made}.weight"], [width])
        weight, bias = parameters[f"{made}.weight"], parameters[f"{made}.bias"]
        parameters |= {f"{made}.weight": widening.make(weight, weight.shape[1]), f"{made}.bias": widening.make(bias, 1)}
    return True


def _count(parameters: Parameters) -> int:
    return sum(name.endswith(".own.bias") for name in parameters)
