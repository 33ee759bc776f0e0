"""Fine-tuning: train on the new clips only. The lower bound."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from avcil.methods.base import GradientMethod
from avcil.methods.step import Batch, Step
from avcil.nn.network import NetworkOutput


class FineTuning(GradientMethod):
    """Cross-entropy over all K logits on the new clips, without exemplars, starting from the previous network."""

    name = "fine-tuning"
    summary = "fine-tuning on the new clips of each step; the lower bound"
    learns_known_classes = True

    def loss(self, output: NetworkOutput, batch: Batch, step: Step) -> dict[str, Tensor]:
        return {"cross_entropy": F.cross_entropy(output.logits, batch.labels)}
