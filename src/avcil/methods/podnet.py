"""PODNet: several proxies per class, distillation of pooled outputs, balanced fine-tuning. Douillard et al., ECCV 2020.

    total = L_NCA + sqrt(K / K_new) (lambda_c L_pooled + lambda_f L_flat)
    L_pooled = mean over layers l of || hat(l^2) - hat(l_old^2) ||_2,   L_flat = 1 - cos(h, h_old)

K classes so far, K_new of them new; N clips, D width. Head, initialization and fine-tuning: `_proxy_method`.

The paper pools the maps of convolutional layers over width and over height. This network has no such maps: its
attention pools the tokens over time and space. So the layers are x, f_a and f_v (the paper's variant POD-GAP); with one
modality, only h is distilled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.data.modality import Modality
from avcil.losses import discrepancy, nca_margin_loss
from avcil.methods._proxy_method import ProxyMethod, ProxyOptions, imprint_centers, layers, proxy_head
from avcil.methods.step import Batch, Step
from avcil.nn.network import Network, NetworkOutput
from avcil.utils.options import check_range

_MARGIN = 0.6
"""The published margin of L_NCA."""


@dataclass(frozen=True, kw_only=True)
class PodnetOptions(ProxyOptions):
    """Options of PODNet; the defaults are published for CIFAR-100."""

    lambda_pooled: float = 3.0
    """Weight lambda_c of the distillation of pooled outputs. 0: off."""
    lambda_flat: float = 1.0
    """Weight lambda_f of the distillation of h. 0: off."""
    nca: Literal["release", "paper"] = "release"
    """Form of L_NCA. release: as in the code of PODNet's authors, where the margin cancels; paper: with the margin 0.6
    and a lower limit of 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "lambda_pooled", "lambda_flat", least=0)


class Podnet(ProxyMethod):
    """Rehearsal with a proxy head, distillation of pooled outputs and balanced fine-tuning."""

    name = "podnet"
    summary = (
        "rehearsal with a cosine proxy head, pooled-output distillation, balanced fine-tuning (ECCV 2020)"
    )
    Options = PodnetOptions
    herding_repeats = False
    validates_by_means = False

    def begin_step(self, step: Step) -> None:
        """Initialize the proxies of the new classes."""
        if step.teacher is not None:
            imprint_centers(step, unit=True)

    def nca(self, logits: Tensor, labels: Tensor, step: Step) -> Tensor:
        if self.options.nca == "release":
            return super().nca(logits, labels, step)
        return nca_margin_loss(logits, labels, margin=_MARGIN * proxy_head(step).scale).mean()

    def loss(self, output: NetworkOutput, batch: Batch, step: Step) -> dict[str, Tensor]:
        terms = {"nca": self.nca(output.logits, batch.labels, step)}
        if step.teacher is None:
            return terms
        factor = math.sqrt(step.total / step.task_sizes[-1])
        old_feature, *old_layers = step.teacher.cached("distilled", self._distilled, batch)
        if self.options.lambda_pooled and old_layers:
            pairs = zip(layers(output), old_layers, strict=True)
            distances = [discrepancy(new.square(), old.square()) for new, old in pairs]
            terms["pooled"] = self.options.lambda_pooled * factor * torch.stack(distances).mean()
        if self.options.lambda_flat:
            similarity = F.cosine_similarity(output.feature, old_feature)
            terms["flat"] = self.options.lambda_flat * factor * (1 - similarity).mean()
        return terms

    def _distilled(self, network: Network, batch: Batch) -> tuple[Tensor, ...]:
        """h, and the audio-visual network's x, f_a and f_v, each (N, D)."""
        output = network(batch.audio, batch.visual)
        pooled = layers(output) if self.modality is Modality.AUDIO_VISUAL else ()
        return (output.feature, *pooled)
