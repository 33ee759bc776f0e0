"""ER: experience replay, cross-entropy on new clips and exemplars together. Chaudhry et al., arXiv 1902.10486 (2019).

    total = CE over all K logits on the new clips and the exemplars of a batch

Published: as many exemplars as new clips in a batch, SGD, one pass, reservoir sampling. Here: the batch sizes and the
optimizer of the run, and the same number of random exemplars of each class, as for the other methods.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from avcil.methods.base import GradientMethod
from avcil.methods.step import Batch, Step
from avcil.nn.network import NetworkOutput


class Er(GradientMethod):
    """Plain rehearsal."""

    name = "er"
    summary = "experience replay: cross-entropy on new clips and random exemplars (arXiv 2019)"
    learns_known_classes = True
    rehearsal = "random"
    batching = "paired"

    def loss(self, output: NetworkOutput, batch: Batch, step: Step) -> dict[str, Tensor]:
        return {"cross_entropy": F.cross_entropy(output.logits, batch.labels)}
