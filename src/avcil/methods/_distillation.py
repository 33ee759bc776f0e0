"""Distillation from the network of the previous step: task-wise, or weighted by the shares of new and old classes."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from avcil.losses import soft_cross_entropy, taskwise_distillation
from avcil.methods.base import GradientMethod
from avcil.methods.step import Batch, Step
from avcil.nn.network import NetworkOutput


def taskwise_term(
    output: NetworkOutput, batch: Batch, step: Step, *, temperature: float
) -> dict[str, Tensor]:
    """The distillation term of LwF, SS-IL and AV-CIL by name; empty in the first step, which has no teacher."""
    if step.teacher is None:
        return {}
    logits = step.teacher.logits(batch)
    loss = taskwise_distillation(
        output.logits, logits, task_sizes=step.task_sizes[:-1], temperature=temperature
    )
    return {"distillation": loss}


class BalancedDistillation(GradientMethod):
    """What BiC and WA share: herded exemplars, and the loss; `Options` have `temperature_distillation`."""

    rehearsal = "herding"
    batching = "mixed"
    uses_teacher = True

    def loss(self, output: NetworkOutput, batch: Batch, step: Step) -> dict[str, Tensor]:
        """(1 - r) CE over all K logits + r KD on the K_old logits, r = K_old / K; cross-entropy alone at step 0."""
        cross_entropy = F.cross_entropy(output.logits, batch.labels)
        if step.teacher is None:
            return {"cross_entropy": cross_entropy}
        old_share = step.known / step.total
        distillation = soft_cross_entropy(
            output.logits[:, : step.known],
            step.teacher.logits(batch),
            temperature=self.options.temperature_distillation,
        )
        return {"cross_entropy": (1 - old_share) * cross_entropy, "distillation": old_share * distillation}
