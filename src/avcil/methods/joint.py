"""Joint training: a new network at each step, trained on the clips of all steps so far. The upper bound."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from avcil.methods.base import GradientMethod
from avcil.methods.step import Batch, Step
from avcil.nn.network import NetworkOutput


class Joint(GradientMethod):
    """Cross-entropy on the clips of all steps so far, which class-incremental methods may not use."""

    name = "joint"
    summary = "joint training of a new network on the clips of all steps so far; the upper bound"
    learns_known_classes = True
    batching = "all"
    trains_from_scratch = True

    def loss(self, output: NetworkOutput, batch: Batch, step: Step) -> dict[str, Tensor]:
        return {"cross_entropy": F.cross_entropy(output.logits, batch.labels)}
