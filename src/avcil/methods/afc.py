"""AFC: several proxies per class, importance-weighted feature distillation. Kang et al., CVPR 2022.

    total = L_NCA + lambda sqrt(s + 1) L_disc,  s = the step's number, from 0

N clips, D width. The head and its initialization are those of `_proxy_method`. The defaults follow AFC's paper where
the release of AV-CIL differs; the published benchmarks of AV-CIL follow the release (docs/protocol.md):
`herding=release validation=classifier eta=reset teacher_proxies=random clustering=features finetuning_iterations=0`.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.data.modality import Modality
from avcil.losses import discrepancy, importance_weights, nca_loss
from avcil.methods._herding_method import Validation
from avcil.methods._proxy_method import ProxyMethod, ProxyOptions, imprint_centers, layers, proxy_head
from avcil.methods.step import Batch, Step
from avcil.nn.network import Network, NetworkOutput
from avcil.utils.options import check_range
from avcil.utils.rng import generator


@dataclass(frozen=True, kw_only=True)
class AfcOptions(ProxyOptions):
    """Options of AFC; the defaults follow AFC's paper. "The release" is the code of AV-CIL's authors."""

    lambda_discrepancy: float = 0.5
    """Weight of the discrepancy distillation. In step s, it is multiplied by sqrt(s + 1). 0: off."""
    herding: Literal["distinct", "release"] = "distinct"
    """distinct: no exemplar is selected twice; release: as in the release, where a clip may be selected repeatedly."""
    validation: Validation = "head"
    """Classifier for validation after each epoch: the head, or that of the option `classifier`, as in the
    release. The latter needs a pass over the training clips after each epoch, to select exemplars of new classes."""
    eta: Literal["kept", "reset"] = "kept"
    """Learned scale of the scores. kept: it is kept from step to step; reset: it is set to 1 at the start of each step,
    also in the teacher, as in the release."""
    teacher_proxies: Literal["imprinted", "random"] = "imprinted"
    """Proxies of the new classes in the teacher, whose loss gives the importance of features. imprinted: the initial
    proxies of the network; random: random ones, as in the release."""
    clustering: Literal["unit", "features"] = "unit"
    """Features for the k-means centers of a new class: unit: scaled to unit length; features: not scaled, as in the
    release."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "lambda_discrepancy", least=0)


class Afc(ProxyMethod):
    """Rehearsal with a proxy head and importance-weighted feature distillation."""

    name = "afc"
    summary = "rehearsal with a cosine proxy head and importance-weighted feature distillation (CVPR 2022)"
    Options = AfcOptions

    def begin_step(self, step: Step) -> None:
        """Initialize the proxies of the new classes, also in the teacher, whose loss includes the new clips."""
        if step.teacher is None:
            return
        imprint_centers(step, unit=self.options.clustering == "unit")
        head = proxy_head(step)
        if self.options.eta == "reset":
            head.reset_scale()
        teacher_head = copy.deepcopy(head)
        if self.options.teacher_proxies == "random":
            teacher_head.randomize(generator(step.seed, "teacher proxies", step.index))
        step.teacher.network.head = teacher_head.requires_grad_(False)

    def loss(self, output: NetworkOutput, batch: Batch, step: Step) -> dict[str, Tensor]:
        terms = {"nca": self.nca(output.logits, batch.labels, step)}
        if step.teacher is not None and self.options.lambda_discrepancy:
            weight = self.options.lambda_discrepancy * math.sqrt(step.index + 1)
            terms["discrepancy"] = weight * self._discrepancy(output, batch, step)
        return terms

    def _discrepancy(self, output: NetworkOutput, batch: Batch, step: Step) -> Tensor:
        assert step.teacher is not None
        if self.modality is not Modality.AUDIO_VISUAL:
            (feature,) = step.teacher.cached("feature", _teacher_feature, batch)
            return discrepancy(output.feature, feature)
        *features, norms = step.teacher.cached("layers", teacher_layers, batch)
        parts = zip(layers(output), features, importance_weights(norms).T, strict=True)
        return torch.stack([discrepancy(new, old, weight) for new, old, weight in parts]).sum()


def _teacher_feature(network: Network, batch: Batch) -> tuple[Tensor, ...]:
    return (network(batch.audio, batch.visual).feature,)


def teacher_layers(network: Network, batch: Batch) -> tuple[Tensor, ...]:
    """The teacher's x, f_a, f_v (N, D) and the norms of its NCA loss's gradients by them (N, 3).

    The loss is summed over clips, so that a clip's gradient does not depend on the other clips of the batch. The
    importance of a feature is a ratio of gradients of the same clip, which a factor 1/N would not change.
    """
    attended, audio, visual = layers(network(batch.audio, batch.visual))
    with torch.enable_grad():
        x, f_a = (part.detach().requires_grad_() for part in (attended, audio))
        f_v = F.relu(network.visual_projection(x))  # the end of the forward pass again, now with gradients
        loss = nca_loss(network.head(f_a + f_v), batch.labels).sum()
        gradients = torch.autograd.grad(loss, (x, f_a, f_v))
    return attended, audio, visual, torch.stack([gradient.norm(dim=1) for gradient in gradients], dim=1)
