"""GDumb: train a new network on exemplars only. Prabhu, Torr & Dokania, ECCV 2020.

    total = CE over all K logits, on the exemplars after the step

The exemplars are the same number of random clips of each class ("greedy sampler"); each step starts with a new network
("dumb learner"). Published: SGD from learning rate 0.05 with cosine schedule, CutMix, 256 epochs. Here: the optimizer
and epochs of the run, and no CutMix, which mixes images.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from avcil.methods.base import GradientMethod
from avcil.methods.step import Batch, Step
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
