"""The loss of BiC and WA: cross-entropy and distillation, weighted by the shares of new and old classes."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from avcil.losses import soft_cross_entropy
from avcil.methods.base import Batch, Step
from avcil.nn.network import NetworkOutput


def balanced_distillation(
    output: NetworkOutput, batch: Batch, step: Step, *, temperature: float
) -> dict[str, Tensor]:
    """(1 - r) CE over all K logits + r KD on the K_old logits, r = K_old / K; cross-entropy alone at step 0."""
    cross_entropy = F.cross_entropy(output.logits, batch.labels)
    if step.teacher is None:
        return {"cross_entropy": cross_entropy}
    old_share = step.known / step.total
    distillation = soft_cross_entropy(
        output.logits[:, : step.known], step.teacher.logits(batch), temperature=temperature
    )
    return {"cross_entropy": (1 - old_share) * cross_entropy, "distillation": old_share * distillation}
