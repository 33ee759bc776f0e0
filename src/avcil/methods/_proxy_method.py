"""What AFC and PODNet share: a head with several proxies per class, initialized by clustering, and distilled layers.

N clips, D width, C classes, P proxies per class. From step 1 on, the proxies of old classes are frozen, and those of
new classes are initialized as k-means centers of their features.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.methods._bias_correction import features_of
from avcil.methods._herding_method import HerdingMethod
from avcil.methods.base import Step
from avcil.nn.clustering import k_means
from avcil.nn.network import NetworkOutput
from avcil.nn.proxy_head import ProxyHead
from avcil.utils.rng import generator


class ProxyMethod(HerdingMethod):
    """Rehearsal with a proxy head; `Options` also have `proxies`."""

    def build_head(self, width: int) -> ProxyHead:
        return ProxyHead(width, proxies=self.options.proxies)


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
    points = features_of(step, torch.arange(step.new_count)).cpu()
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
