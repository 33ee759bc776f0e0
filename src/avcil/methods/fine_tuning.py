"""Fine-tuning: learn the new classes and let the old ones fade. The lower bound."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from avcil.methods.base import Batch, GradientMethod, Step
from avcil.nn.network import NetworkOutput


class FineTuning(GradientMethod):
    """Warm start, grown head, cross-entropy over all K logits on the new classes' clips; no memory."""

    name = "fine-tuning"
    summary = "learns each step's new clips only; the lower bound"
    learns_known_classes = True

    def loss(self, output: NetworkOutput, batch: Batch, step: Step) -> dict[str, Tensor]:
        return {"cross_entropy": F.cross_entropy(output.logits, batch.labels)}
