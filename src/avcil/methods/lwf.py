"""LwF: learning without forgetting, trained on new clips only. Li and Hoiem, ECCV 2016, in task-wise form.

    total = CE over the new classes' logits + L_KD

No clips of old classes are stored: the previous step's predictions for the *new* clips replace them.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from avcil.methods._distillation import taskwise_term
from avcil.methods.base import GradientMethod
from avcil.methods.step import Batch, Step
from avcil.nn.network import NetworkOutput
from avcil.utils.options import check_range


@dataclass(frozen=True, kw_only=True)
class LwfOptions:
    """Hyper-parameters."""

    temperature_distillation: float = 2.0
    """Temperature T of the distillation loss."""

    def __post_init__(self) -> None:
        check_range(self, "temperature_distillation", above=0)


class Lwf(GradientMethod):
    """Task-wise distillation without exemplars."""

    name = "lwf"
    summary = "learning without forgetting: distillation on new clips; exemplar-free (ECCV 2016)"
    Options = LwfOptions
    uses_teacher = True

    def loss(self, output: NetworkOutput, batch: Batch, step: Step) -> dict[str, Tensor]:
        terms = {"cross_entropy": F.cross_entropy(output.logits[:, step.known :], batch.labels - step.known)}
        temperature = self.options.temperature_distillation
        return terms | taskwise_term(output, batch, step, temperature=temperature)
