"""Averages of the parameters over optimisation steps, which are evaluated instead of the last ones.

Single updates scatter the parameters about where the optimiser is heading; their average scatters less.

References:
    Izmailov et al., UAI 2018, arXiv:1803.05407 (equal weights);
    Kingma, Ba, ICLR 2015, arXiv:1412.6980 (an exponential average corrected for its start).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from qmcnet.checks import at_least, one_of, positive


@dataclass(frozen=True)
class AveragingSettings:
    """Which average of the parameters is evaluated.

    Attributes:
        weights: 'exponential', 'equal', or 'none' to evaluate the parameters of the last step.
        decay: weight, in an exponential average, of a step relative to the next; 1 / (1 - decay) steps count. Step i of
            n has the weight decay^(n - i) (1 - decay) / (1 - decay^n): weights add up to one from the start, and the
            first parameters have no more than their age says.
        start: optimisation steps made before the average begins.
    """

    weights: str = "none"
    decay: float = 0.99
    start: int = 0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: for unknown weights or a number out of range.
        """
        one_of(("none", "exponential", "equal"), weights=self.weights)
        positive(decay=self.decay)
        at_least(0, below=1, decay=self.decay)
        at_least(0, start=self.start)

    def check_start(self, steps: int) -> None:
        """Refuse an average that no step of a run belongs to.

        Args:
            steps: optimisation steps of the run.

        Raises:
            ValueError: if the average would be empty.
        """
        if self.weights != "none" and 0 < steps <= self.start:
            raise ValueError(f"averaging.start={self.start} leaves none of the {steps} steps to average")


class ParameterAverage:
    """Running average of the parameters of a wavefunction."""

    def __init__(self, ansatz: nn.Module, settings: AveragingSettings) -> None:
        """Prepare an empty average.

        Args:
            ansatz: the wavefunction.
            settings: which average.
        """
        self.ansatz, self.settings = ansatz, settings
        self.count, self.values = 0, list[Tensor]()

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the parameters of the wavefunction.

        Args:
            step: optimisation steps made.
        """
        if self.settings.weights == "none" or step <= self.settings.start:
            return
        self.count += 1
        if self.count == 1:
            self.values = [parameter.detach().clone() for parameter in self.ansatz.parameters()]
            return
        decay = self.settings.decay
        share = 1 / self.count if self.settings.weights == "equal" else (1 - decay) / (1 - decay**self.count)
        get_ema_multi_avg_fn(1 - share)(self.values, list(self.ansatz.parameters()), None)

    @torch.no_grad()
    def apply(self) -> None:
        """Give the wavefunction its average parameters, if there are any."""
        if self.count:
            for parameter, value in zip(self.ansatz.parameters(), self.values, strict=True):
                parameter.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {"count": self.count, "values": self.values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state.

        Args:
            state: what `state_dict` returned.
        """
        device = next(self.ansatz.parameters()).device
        self.count, self.values = state["count"], [value.to(device, copy=True) for value in state["values"]]
