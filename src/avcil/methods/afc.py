"""AFC: several proxies a class, features held where the last step's loss needs them. Kang et al., CVPR 2022.

    total = L_NCA + lambda sqrt(s + 1) L_disc,  s = the step's number, from 0

N clips, D width, C classes, P proxies of a class. From step 1 on the old classes' proxies are frozen, and the
new ones start as k-means centres of hat(h). As with iCaRL, validation within a step asks the head, because
class means do not exist before exemplars are chosen.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.losses import discrepancy, importance_weights, nca_loss
from avcil.methods._herding_method import HerdingMethod
from avcil.methods.base import Batch, Step
from avcil.models.clustering import k_means
from avcil.models.network import Network, NetworkOutput
from avcil.models.proxy_head import ProxyHead
from avcil.training.rng import generator


@dataclass(frozen=True, kw_only=True)
class AfcOptions:
    """Hyper-parameters; the defaults are the release's."""

    classifier: Literal["lsc", "nme"] = "lsc"
    """Who answers after a step: the head (local similarity classifier), or the nearest exemplar mean."""
    proxies: int = 10
    """Proxies of each class."""
    lambda_discrepancy: float = 0.5
    """Weight of the discrepancy distillation, which grows with sqrt(s + 1) besides. 0: off."""
    herding: Literal["distinct", "release"] = "distinct"
    """Every exemplar another clip; or as in the release, whose herding may choose a clip again."""

    def __post_init__(self) -> None:
        if self.proxies < 1:
            from avcil.errors import InputError

            raise InputError(f"option proxies of method afc must be 1 or more; not {self.proxies}")


class Afc(HerdingMethod):
    """Rehearsal with a proxy head and importance-weighted feature distillation."""

    name = "afc"
    summary = "rehearsal with a cosine proxy head and importance-weighted feature distillation (CVPR 2022)"
    Options = AfcOptions

    def build_head(self, width: int) -> ProxyHead:
        return ProxyHead(width, proxies=self.options.proxies)

    def begin_step(self, step: Step) -> None:
        """Imprint the new classes' proxies, on the teacher as well: its loss is about the new clips too."""
        if step.teacher is None:
            return
        head = step.network.head
        assert isinstance(head, ProxyHead)
        units = F.normalize(_features(step), dim=1)
        labels = step.pool.labels[: step.new_count].cpu()
        centres = [
            k_means(units[labels == label], head.proxies, generator=generator(step.seed, "proxies", label))
            for label in range(step.known, step.total)
        ]
        head.imprint(torch.stack(centres))
        step.teacher.network.head = copy.deepcopy(head).requires_grad_(False)

    def loss(self, output: NetworkOutput, batch: Batch, step: Step) -> dict[str, Tensor]:
        terms = {"nca": nca_loss(output.logits, batch.labels).mean()}
        if step.teacher is not None and self.options.lambda_discrepancy:
            weight = self.options.lambda_discrepancy * math.sqrt(step.index + 1)
            terms["discrepancy"] = weight * self._discrepancy(output, batch, step)
        return terms

    def _discrepancy(self, output: NetworkOutput, batch: Batch, step: Step) -> Tensor:
        assert step.teacher is not None
        if self.modality != "audio-visual":
            (feature,) = step.teacher.recall("feature", _teacher_feature, batch)
            return discrepancy(output.feature, feature)
        *features, norms = step.teacher.recall("layers", teacher_layers, batch)
        parts = zip(layers(output), features, importance_weights(norms).T, strict=True)
        return torch.stack([discrepancy(new, old, weight) for new, old, weight in parts]).sum()


def _features(step: Step) -> Tensor:
    """h of the new clips (n, D), in the machine's memory."""
    with torch.no_grad():
        parts = torch.arange(step.new_count).split(step.pool.asked_at_once)
        return torch.cat([step.network(*taken).feature.cpu() for taken in step.pool.stream(parts)])


def layers(output: NetworkOutput) -> tuple[Tensor, Tensor, Tensor]:
    """What is held in place in the audio-visual network: x, f_a and f_v, each (N, D)."""
    assert output.attended is not None
    assert output.audio_feature is not None
    assert output.visual_feature is not None
    return output.attended, output.audio_feature, output.visual_feature


def _teacher_feature(network: Network, batch: Batch) -> tuple[Tensor, ...]:
    return (network(batch.audio, batch.visual).feature,)


def teacher_layers(network: Network, batch: Batch) -> tuple[Tensor, ...]:
    """The teacher's x, f_a, f_v (N, D) and the norms of its NCA loss's gradients by them (N, 3).

    The loss is summed over clips, so that a clip's gradient does not depend on its company; importance is a
    ratio within a clip, which the batch's 1/N would not change.
    """
    attended, audio, visual = layers(network(batch.audio, batch.visual))
    with torch.enable_grad():
        x, f_a = (part.detach().requires_grad_() for part in (attended, audio))
        f_v = F.relu(network.visual_projection(x))  # the end of the forward pass again, now with gradients
        loss = nca_loss(network.head(f_a + f_v), batch.labels).sum()
        gradients = torch.autograd.grad(loss, (x, f_a, f_v))
    return attended, audio, visual, torch.stack([gradient.norm(dim=1) for gradient in gradients], dim=1)
