"""SS-IL: separated softmax and task-wise distillation. Ahn et al., ICCV 2021.

    total = L_CE + L_KD

L_CE separates new clips from exemplars. AV-CIL adds its audio-visual terms to this loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from avcil.losses import separated_softmax
from avcil.methods._distillation import taskwise_term
from avcil.methods.base import ExemplarBatches, GradientMethod
from avcil.methods.step import Batch, Step
from avcil.nn.network import NetworkOutput
from avcil.utils.options import check_range

CrossEntropy = Literal["separated", "release-ave"]
"""Separated softmax in every step; or as in the release on AVE: cross-entropy over all K logits in the second step if
both steps have 4 classes, and separated softmax otherwise."""


@dataclass(frozen=True, kw_only=True)
class SsIlOptions:
    """Hyper-parameters."""

    temperature_distillation: float = 2.0
    """Temperature T of the distillation loss."""
    exemplar_batches: ExemplarBatches = "reshuffled"
    """After all exemplars were used within an epoch: shuffle them again, or repeat the same batches (as released)."""
    cross_entropy: CrossEntropy = "separated"
    """separated: separated softmax. release-ave: softmax over all classes in the second step if both steps have 4
    classes."""

    def __post_init__(self) -> None:
        check_range(self, "temperature_distillation", above=0)


class SsIl(GradientMethod):
    """Rehearsal with separated softmax."""

    name = "ss-il"
    summary = "rehearsal with separated softmax and task-wise distillation (ICCV 2021)"
    Options = SsIlOptions
    rehearsal = "random"
    batching = "paired"
    uses_teacher = True

    @property
    def exemplar_batches(self) -> ExemplarBatches:
        return self.options.exemplar_batches

    def _is_plain(self, step: Step) -> bool:
        """Whether this step's cross-entropy is over all classes."""
        return self.options.cross_entropy == "release-ave" and step.task_sizes == (4, 4)

    def loss(self, output: NetworkOutput, batch: Batch, step: Step) -> dict[str, Tensor]:
        if self._is_plain(step):
            cross_entropy = F.cross_entropy(output.logits, batch.labels)
        else:
            cross_entropy = separated_softmax(
                output.logits, batch.labels, new_count=batch.new_count, known=step.known
            )
        terms = {"cross_entropy": cross_entropy}
        temperature = self.options.temperature_distillation
        return terms | taskwise_term(output, batch, step, temperature=temperature)
