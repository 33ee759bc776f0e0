"""GDumb: train a new network on exemplars only. Prabhu, Torr & Dokania, ECCV 2020.

    total = CE over all K logits, on the clips that the memory holds after the step

The memory has the same number of random clips of each class ("greedy sampler"); the network starts anew at each step
("dumb learner"). Published: SGD from learning rate 0.05 with cosine schedule, CutMix, 256 epochs; here the run's
optimizer and epochs, and no CutMix, which mixes pictures.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from avcil.methods.base import Batch, GradientMethod, Step
from avcil.nn.network import NetworkOutput


class Gdumb(GradientMethod):
    """A network trained on class-balanced exemplars."""

    name = "gdumb"
    summary = "trains a new network at each step on class-balanced exemplars only (ECCV 2020)"
    learns_known_classes = True
    rehearsal = "random"
    batching = "mixed"
    trains_from_scratch = True

    def trained_rows(self, step: Step) -> Tensor | None:
        return step.next_exemplars

    def loss(self, output: NetworkOutput, batch: Batch, step: Step) -> dict[str, Tensor]:
        return {"cross_entropy": F.cross_entropy(output.logits, batch.labels)}
