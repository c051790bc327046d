"""Compiling a function of the positions: traced once a shape, then fused by torch's compiler.

Tracing follows what is computed, not how it is written, so that rules and hooks in Python leave no trace. Parameters
stay what they are: changing them in place changes what the compiled code computes.
"""

import logging
import os
import shutil
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._pytree import tree_leaves

from qmcnet.compute.kernels import traceable

logger = logging.getLogger(__name__)

Program = Callable[[Tensor], tuple[Tensor, ...]]


class Compiled:
    """A function of the positions, compiled for each shape it meets."""

    def __init__(self, function: Program, name: str) -> None:
        """Compile nothing yet.

        Args:
            function: maps positions (B, N, 3) to tensors, by operations that do not depend on the numbers.
            name: what it computes, for the log.
        """
        self.function, self.name = function, name
        self.programs: dict[tuple[Any, ...], Program] = {}

    @torch.no_grad()
    def __call__(self, positions: Tensor) -> tuple[Tensor, ...]:
        """Evaluate the function, compiling it for a new shape.

        Args:
            positions: shape (B, N, 3), in bohr.

        Returns:
            What the function returns.
        """
        positions = positions.contiguous()
        key = (positions.shape, positions.dtype, positions.device)
        if key not in self.programs:
            self.programs[key] = self._compile(positions)
        # Captured CUDA graphs write every result to the same place.
        return tuple(tensor.clone() for tensor in self.programs[key](positions))

    def _compile(self, positions: Tensor) -> Program:
        from torch.fx.experimental.proxy_tensor import make_fx  # takes seconds to import

        start = time.perf_counter()
        logger.info("compiling the %s for %d walkers", self.name, len(positions))
        with traceable():
            graph = make_fx(self.function)(positions)
        if any(is_complex(node) for node in graph.graph.nodes):
            logger.warning("torch compiles complex numbers to wrong code: the %s is not compiled", self.name)
            return graph
        mode = "reduce-overhead" if positions.device.type == "cuda" else "default"
        program: Program = torch.compile(graph, mode=mode)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of torch about its own code
            program(positions)
        logger.info("compiled the %s in %.0f s; torch keeps it for later runs", self.name, time.perf_counter() - start)
        return program


def check_compiler(device: torch.device) -> None:
    """Refuse to compile where nothing can.

    Args:
        device: where the code is to run.

    Raises:
        ValueError: if a CPU is asked for and there is no C++ compiler.
    """
    names = [os.environ.get("CXX", ""), "g++", "clang++", "c++"]
    if device.type == "cpu" and not any(map(shutil.which, filter(None, names))):
        raise ValueError("compile=true needs a C++ compiler on a CPU: install g++ or clang++, or name one by CXX=")


def is_complex(node: fx.Node) -> bool:
    """Tell whether an operation of a graph makes complex numbers.

    Additions in place to the diagonal of a complex tensor come out wrong from inductor (torch 2.13), without an error.

    Args:
        node: traced with shapes and types.

    Returns:
        Whether a result is complex.
    """
    return any(isinstance(value, Tensor) and value.is_complex() for value in tree_leaves(node.meta.get("val")))
