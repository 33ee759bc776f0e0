"""What AFC and PODNet share: a head with several proxies per class, its initialization and its balanced fine-tuning.

N clips, D width, C classes, P proxies per class. From step 1 on, the proxies of old classes are frozen, and those of
new classes are initialized as k-means centers of their features. After the step, all proxies are trained with the NCA
loss on the exemplars and as many herded clips of each new class: stochastic gradient descent with fixed features.
Source: PODNet (ECCV 2020) and its code, on which that of AFC is based.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.losses import nca_loss
from avcil.methods._herding_method import HerdingMethod
from avcil.methods.exemplars import choose_by_herding
from avcil.methods.step import Step
from avcil.nn.clustering import k_means
from avcil.nn.network import NetworkOutput
from avcil.nn.proxy_head import ProxyHead
from avcil.utils.options import check_range
from avcil.utils.rng import generator

_BATCH_SIZE, _MOMENTUM, _WEIGHT_DECAY = 128, 0.9, 5e-4
"""Of the fine-tuning, as published."""


@dataclass(frozen=True, kw_only=True)
class ProxyOptions:
    """Options of methods with a proxy head."""

    classifier: Literal["lsc", "nme"] = "lsc"
    """Classifier after a step: the head (local similarity classifier), or the nearest class mean of exemplars (nme)."""
    proxies: int = 10
    """Number of proxies per class."""
    finetuning_iterations: int = 320
    """Iterations of the balanced fine-tuning of the proxies, with batches of at most 128 clips: as many as 20 epochs
    with 2,000 exemplars, as published. 0: off."""
    finetuning_learning_rate: float = 0.05
    """Learning rate of the balanced fine-tuning."""

    def __post_init__(self) -> None:
        check_range(self, "proxies", least=1)
        check_range(self, "finetuning_iterations", least=0)
        check_range(self, "finetuning_learning_rate", above=0)


class ProxyMethod(HerdingMethod):
    """Rehearsal with a proxy head."""

    def build_head(self, width: int) -> ProxyHead:
        return ProxyHead(width, proxies=self.options.proxies)

    def nca(self, logits: Tensor, labels: Tensor, step: Step) -> Tensor:
        """The NCA loss, a mean over clips, of logits (N, C) and labels (N,)."""
        return nca_loss(logits, labels).mean()

    def end_step(self, step: Step) -> None:
        """Fine-tune the proxies on the same number of clips of each class."""
        if step.teacher is None or not self.options.finetuning_iterations:
            return
        features = step.features(torch.arange(len(step.pool)))
        rows = _balanced_rows(step, features)
        features, labels = features[rows], step.pool.labels[rows]
        head, draw = proxy_head(step), generator(step.seed, "fine-tuning", step.index)
        proxies = (head.frozen.requires_grad_(), head.learning)
        velocities = [torch.zeros_like(tensor) for tensor in proxies]
        for _ in range(self.options.finetuning_iterations):
            part = torch.randperm(len(rows), generator=draw)[:_BATCH_SIZE]
            loss = self.nca(head(features[part]), labels[part], step)
            gradients = torch.autograd.grad(loss, proxies)
            with torch.no_grad():
                for tensor, velocity, gradient in zip(proxies, velocities, gradients, strict=True):
                    velocity.mul_(_MOMENTUM).add_(gradient + _WEIGHT_DECAY * tensor)
                    tensor.sub_(self.options.finetuning_learning_rate * velocity)
        head.frozen.requires_grad_(False)


def proxy_head(step: Step) -> ProxyHead:
    """The head of the step's network."""
    head = step.network.head
    assert isinstance(head, ProxyHead)
    return head


def imprint_centers(step: Step, *, unit: bool) -> None:
    """Initialize the proxies of the new classes as k-means centers of the features of their clips.

    Args:
        step: A step after the first.
        unit: Whether the features are scaled to unit length before.
    """
    head, labels = proxy_head(step), step.pool.labels[: step.new_count].cpu()
    points = step.features(torch.arange(step.new_count)).cpu()
    if unit:
        points = F.normalize(points, dim=1)
    centers = [
        k_means(points[labels == label], head.proxies, generator=generator(step.seed, "proxies", label))
        for label in range(step.known, step.total)
    ]
    head.imprint(torch.stack(centers))


def layers(output: NetworkOutput) -> tuple[Tensor, Tensor, Tensor]:
    """The distilled features of the audio-visual network: x, f_a and f_v, each (N, D)."""
    assert output.attended is not None
    assert output.audio_feature is not None
    assert output.visual_feature is not None
    return output.attended, output.audio_feature, output.visual_feature


def _balanced_rows(step: Step, features: Tensor) -> Tensor:
    """Rows of the exemplars, and of as many clips of each new class, selected by herding.

    Args:
        step: A step after the first.
        features: h (n, D) of all n clips of the pool.
    """
    labels = step.pool.labels.cpu()
    rows = [torch.arange(step.new_count, len(step.pool))]
    count = int(torch.bincount(labels[step.new_count :]).max())
    for label in range(step.known, step.total):
        new = (labels[: step.new_count] == label).nonzero()[:, 0]
        rows.append(new[choose_by_herding(features[new].cpu(), count)])
    return torch.cat(rows)
