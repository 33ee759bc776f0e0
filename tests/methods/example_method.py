"""Cross-entropy on new clips and exemplars, and a penalty on changes of features.

    total = CE over all K logits + lambda mean_i (1 - cos(h_i, h_i^old))

Source: the less-forget constraint of LUCIR (Hou et al., CVPR 2019).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from avcil.methods.base import Batch, GradientMethod, Step
from avcil.nn.network import Network, NetworkOutput


@dataclass(frozen=True, kw_only=True)
class LessForgettingOptions:
    """Hyper-parameters."""

    lambda_direction: float = 5.0
    """Weight of the less-forget constraint. 0: off."""


def old_feature(network: Network, batch: Batch) -> tuple[Tensor, ...]:
    """h (N, D) of the teacher, as a tuple, because `cached` can store several tensors."""
    return (network(batch.audio, batch.visual).feature,)


class LessForgetting(GradientMethod):
    """Rehearsal with a penalty on changes of feature directions."""

    name = "less-forgetting"
    summary = "rehearsal with the less-forget constraint of LUCIR"
    Options = LessForgettingOptions
    rehearsal = "random"
    batching = "mixed"
    uses_teacher = True

    def loss(self, output: NetworkOutput, batch: Batch, step: Step) -> dict[str, Tensor]:
        terms = {"cross_entropy": F.cross_entropy(output.logits, batch.labels)}
        if step.teacher is not None and self.options.lambda_direction:
            (old,) = step.teacher.cached("feature", old_feature, batch)
            turned = 1 - F.cosine_similarity(output.feature, old)
            terms["less_forget"] = self.options.lambda_direction * turned.mean()
        return terms
