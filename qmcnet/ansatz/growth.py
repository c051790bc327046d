"""Networks that begin as another one, or larger than it with the same psi up to a constant factor.

What is new starts neutral, and has a gradient all the same:

* of more determinants, parts of those before add up to them (`qmcnet.ansatz.splitting`);
* new features of a FermiNet are not read yet (`qmcnet.ansatz.widening`);
* a further layer adds nothing to what comes in: the maps that its class lists as `neutral_without` are zero;
* the neural Jastrow factor is the cusp that it contains, and backflow shifts nothing: their last weights are zero;
* envelopes of one class have the same parameters, wherever they would start from.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from qmcnet.ansatz.envelopes import ENVELOPES
from qmcnet.ansatz.ferminet import FermiNet
from qmcnet.ansatz.head import DeterminantHead
from qmcnet.ansatz.splitting import split
from qmcnet.ansatz.widening import Widening, widen_one, widen_two


@dataclass
class Growth:
    """A network on its way from another one.

    Attributes:
        network: the one to be; unchanged.
        parameters: those of the other one, by the names that they have here.
        fresh: those that the network has so far, for what is new.
        generator: source of randomness, on the CPU.
    """

    network: Any
    parameters: dict[str, Tensor]
    fresh: dict[str, Tensor]
    generator: torch.Generator

    def silence(self, prefix: str) -> None:
        """Let what is new start at zero.

        Args:
            prefix: beginning of its names.
        """
        self.fresh |= {name: torch.zeros_like(value) for name, value in self.fresh.items() if name.startswith(prefix)}


def _split_determinants(growth: Growth, before: int, after: int) -> bool:
    head, prefix = getattr(growth.network, "head", None), "head.orbitals."
    if not isinstance(head, DeterminantHead) or not 0 < before < after:
        return False
    own = {name.removeprefix(prefix): part for name, part in growth.parameters.items() if name.startswith(prefix)}
    grown = split(head.orbitals, own, before, after, growth.generator)
    growth.parameters |= {prefix + name: value for name, value in grown.items()}
    return True


def _widen_one(growth: Growth, before: int, after: int) -> bool:
    widening = Widening(growth.network, before, after, growth.generator)
    return isinstance(growth.network, FermiNet) and widen_one(widening, growth.parameters)


def _widen_two(growth: Growth, before: int, after: int) -> bool:
    widening = Widening(growth.network, before, after, growth.generator)
    return isinstance(growth.network, FermiNet) and widen_two(widening, growth.parameters)


def _silence_layers(growth: Growth, before: int, after: int) -> bool:
    layers = list(getattr(growth.network, "layers", ()))
    maps = getattr(layers[-1], "neutral_without", ()) if layers else ()
    for layer in range(before, after):
        for name in maps:
            growth.silence(f"layers.{layer}.{name}.")
    return bool(maps) and 0 < before < after


def _begin_as_cusp(growth: Growth, before: str, after: str) -> bool:
    prefix = "head.jastrow." if "head.jastrow.range" in growth.parameters else "jastrow."
    if (before, after) != ("cusp", "neural") or f"{prefix}range" not in growth.parameters:
        return False
    growth.parameters[f"{prefix}cusp.range"] = growth.parameters.pop(f"{prefix}range")
    growth.silence(f"{prefix}pair_sum.")
    return True


def _same_envelope(growth: Growth, before: str, after: str) -> bool:
    kinds = {type(ENVELOPES[name](growth.network.molecule, 1)) for name in (before, after) if name in ENVELOPES}
    return before in ENVELOPES and len(kinds) == 1


def _add_backflow(growth: Growth, before: bool, after: bool) -> bool:
    return after


Rule = Callable[[Growth, Any, Any], bool]
"""Makes neutral what another value of a setting brings, and returns whether it can."""

RULES: Mapping[str, tuple[Rule, str]] = {
    "hidden_one": (_widen_one, "hidden_one may grow, but neither from nor to 4 times the number of nuclei"),
    "hidden_two": (_widen_two, "hidden_two may grow, but neither from nor to 4"),
    "n_determinants": (_split_determinants, "n_determinants may grow"),
    "n_layers": (_silence_layers, "n_layers may grow, with layer_norm only if it is false"),
    "jastrow": (_begin_as_cusp, "jastrow may go from cusp to neural"),
    "envelope": (_same_envelope, "envelope may go from isotropic to sto and back"),
    "backflow": (_add_backflow, "backflow may be added"),
}
"""Settings that may differ, in this order, and in which way, as long as psi stays the same."""


def grown(
    network: nn.Module,
    settings: Mapping[str, Any],
    parameters: Mapping[str, Tensor],
    moved: bool,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Find parameters with which a network is the same wavefunction as another one of its class.

    Args:
        network: the network, which stays as it is, with its `settings`.
        settings: those of the other one.
        parameters: its parameters and buffers, by name.
        moved: whether its nuclei were elsewhere; then buffers, such as orbitals of a mean field, stay those of here.
        generator: source of randomness, on the CPU.

    Returns:
        Parameters and buffers of the network, on the CPU.

    Raises:
        ValueError: if it cannot be the same wavefunction; says why not.
    """
    own: Mapping[str, Any] = json.loads(json.dumps(getattr(network, "settings", {})))  # as those of others are stored
    fresh = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    cast = {name: value.to(fresh[name].dtype) if name in fresh else value for name, value in parameters.items()}
    growth = Growth(network, cast, fresh, generator)
    changed = {name for name in own if name != "seed" and settings.get(name, own[name]) != own[name]}
    for name in sorted(changed, key=[*RULES, *sorted(changed)].index):
        _grow(growth, name, settings[name], own[name])
    if moved and own.get("method") == "casscf":
        raise ValueError("its nuclei are elsewhere, and coefficients of ansatz.method=casscf belong to their orbitals")
    return _together(growth, {name for name, _ in network.named_buffers()} if moved else set(), bool(changed))


def _grow(growth: Growth, name: str, before: Any, after: Any) -> None:
    """Make neutral what another value of a setting brings, or refuse it."""
    rule, words = RULES.get(name, (None, ""))
    try:
        neutral = rule is not None and type(before) is type(after) and rule(growth, before, after)
    except (LookupError, RuntimeError) as error:  # what a file holds need not be what its settings say
        raise ValueError(f"its parameters are not those of a network with {name} {before}") from error
    if not neutral:
        allowed = words or "only " + "; ".join(advice for _, advice in RULES.values())
        raise ValueError(f"ansatz.{name} is {before} there and {after} here: {allowed}")


def _together(growth: Growth, left_out: set[str], larger: bool) -> dict[str, Tensor]:
    taken = {name: value for name, value in growth.parameters.items() if name not in left_out}
    odd = [name for name, value in taken.items() if name not in growth.fresh or value.shape != growth.fresh[name].shape]
    missing = [name for name in growth.fresh if name not in growth.parameters and not larger]
    if unlike := [*odd, *missing]:
        raise ValueError(f"the networks differ in {unlike[0]}")
    return growth.fresh | taken
