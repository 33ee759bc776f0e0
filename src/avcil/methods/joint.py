"""Joint training: a fresh network at every step on all clips of all classes seen. The upper bound."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from avcil.methods.base import Batch, GradientMethod, Step
from avcil.nn.network import NetworkOutput


class Joint(GradientMethod):
    """Cross-entropy on everything; breaks the rules of the game on purpose, to show what they cost."""

    name = "joint"
    summary = "trains afresh on all clips of all classes seen; the upper bound"
    learns_known_classes = True
    batching = "all"
    fresh_start = True

    def loss(self, output: NetworkOutput, batch: Batch, step: Step) -> dict[str, Tensor]:
        return {"cross_entropy": F.cross_entropy(output.logits, batch.labels)}
