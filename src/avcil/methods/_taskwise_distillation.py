"""Task-wise distillation of LwF, SS-IL and AV-CIL."""

from __future__ import annotations

from torch import Tensor

from avcil.losses import taskwise_distillation
from avcil.methods.base import Batch, Step
from avcil.nn.network import NetworkOutput


def distillation_term(
    output: NetworkOutput, batch: Batch, step: Step, *, temperature: float
) -> dict[str, Tensor]:
    """The distillation term by name; empty in the first step, which has no teacher."""
    if step.teacher is None:
        return {}
    logits = step.teacher.logits(batch)
    loss = taskwise_distillation(
        output.logits, logits, task_sizes=step.task_sizes[:-1], temperature=temperature
    )
    return {"distillation": loss}
