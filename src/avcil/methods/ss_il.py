"""SS-IL: separated softmax and task-wise distillation. Ahn et al., ICCV 2021.

    total = L_CE + L_KD

L_CE separates new clips from exemplars; AV-CIL adds its audio-visual terms to just this loss.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from avcil.losses import separated_softmax
from avcil.methods._taskwise import distillation_term
from avcil.methods.base import Batch, GradientMethod, Step
from avcil.models.network import NetworkOutput


@dataclass(frozen=True, kw_only=True)
class SsIlOptions:
    """Hyper-parameters."""

    temperature_distillation: float = 2.0
    """T of the distillation's softmax."""


class SsIl(GradientMethod):
    """Rehearsal with separated softmax."""

    name = "ss-il"
    summary = "rehearsal with separated softmax and task-wise distillation (ICCV 2021)"
    Options = SsIlOptions
    rehearsal = "random"
    batching = "paired"
    uses_teacher = True

    def loss(self, output: NetworkOutput, batch: Batch, step: Step) -> dict[str, Tensor]:
        terms = {
            "cross_entropy": separated_softmax(
                output.logits, batch.labels, new_count=batch.new_count, known=step.known
            )
        }
        temperature = self.options.temperature_distillation
        return terms | distillation_term(output, batch, step, temperature=temperature)
