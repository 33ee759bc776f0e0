"""PODNet: several proxies per class, distillation of pooled outputs, balanced fine-tuning. Douillard et al., ECCV 2020.

    total = L_NCA + sqrt(K / K_new) (lambda_c L_pooled + lambda_f L_flat)
    L_pooled = mean over layers l of || hat(l^2) - hat(l_old^2) ||_2,   L_flat = 1 - cos(h, h_old)

K classes so far, K_new of them new; N clips, D width. After each step but the first, all proxies are trained with L_NCA
on the exemplars and as many herded clips of each new class, with stochastic gradient descent and fixed features.

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
from avcil.errors import InputError
from avcil.losses import discrepancy, nca_loss, nca_margin_loss
from avcil.methods._bias_correction import features_of
from avcil.methods._proxy_method import ProxyMethod, imprint_centers, layers, proxy_head
from avcil.methods.base import Batch, Step
from avcil.methods.exemplars import choose_by_herding
from avcil.nn.network import Network, NetworkOutput
from avcil.utils.rng import generator

MARGIN = 0.6
"""The published margin delta of L_NCA."""
BATCH_SIZE, MOMENTUM, WEIGHT_DECAY = 128, 0.9, 5e-4
"""Of the fine-tuning, as published."""


@dataclass(frozen=True, kw_only=True)
class PodnetOptions:
    """Options of PODNet; the defaults are published for CIFAR-100."""

    classifier: Literal["lsc", "nme"] = "lsc"
    """Classifier after a step: the head (local similarity classifier), or the nearest class mean of exemplars (nme)."""
    proxies: int = 10
    """Number of proxies per class."""
    lambda_pooled: float = 3.0
    """Weight lambda_c of the distillation of pooled outputs. 0: off."""
    lambda_flat: float = 1.0
    """Weight lambda_f of the distillation of h. 0: off."""
    nca: Literal["release", "paper"] = "release"
    """Form of L_NCA. release: as in the code of PODNet's authors, where the margin cancels; paper: with the margin 0.6
    and a lower limit of 0."""
    finetuning_iterations: int = 320
    """Iterations of the balanced fine-tuning of the proxies, with batches of at most 128 clips: as many as 20 epochs
    with 2,000 exemplars, as published. 0: off."""
    finetuning_learning_rate: float = 0.05
    """Learning rate of the balanced fine-tuning."""

    def __post_init__(self) -> None:
        if self.proxies < 1:
            raise InputError(f"option proxies of method podnet must be 1 or more; not {self.proxies}")
        if self.finetuning_iterations < 0:
            raise InputError(
                "option finetuning_iterations of method podnet must be 0 or more; "
                f"not {self.finetuning_iterations}"
            )


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

    def loss(self, output: NetworkOutput, batch: Batch, step: Step) -> dict[str, Tensor]:
        terms = {"nca": self._nca(output.logits, batch.labels, step)}
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

    def _nca(self, logits: Tensor, labels: Tensor, step: Step) -> Tensor:
        if self.options.nca == "release":
            return nca_loss(logits, labels).mean()
        return nca_margin_loss(logits, labels, margin=MARGIN * proxy_head(step).scale).mean()

    def _distilled(self, network: Network, batch: Batch) -> tuple[Tensor, ...]:
        """h, and the audio-visual network's x, f_a and f_v, each (N, D)."""
        output = network(batch.audio, batch.visual)
        pooled = layers(output) if self.modality is Modality.AUDIO_VISUAL else ()
        return (output.feature, *pooled)

    def end_step(self, step: Step) -> None:
        """Fine-tune the proxies on the same number of clips of each class."""
        if step.teacher is None or not self.options.finetuning_iterations:
            return
        rows = _balanced_rows(step)
        features, labels = features_of(step, rows), step.pool.labels[rows]
        head, draw = proxy_head(step), generator(step.seed, "fine-tuning", step.index)
        proxies = (head.frozen.requires_grad_(), head.learning)
        velocities = [torch.zeros_like(tensor) for tensor in proxies]
        for _ in range(self.options.finetuning_iterations):
            part = torch.randperm(len(rows), generator=draw)[:BATCH_SIZE]
            loss = self._nca(head(features[part]), labels[part], step)
            gradients = torch.autograd.grad(loss, proxies)
            with torch.no_grad():
                for tensor, velocity, gradient in zip(proxies, velocities, gradients, strict=True):
                    velocity.mul_(MOMENTUM).add_(gradient + WEIGHT_DECAY * tensor)
                    tensor.sub_(self.options.finetuning_learning_rate * velocity)
        head.frozen.requires_grad_(False)


def _balanced_rows(step: Step) -> Tensor:
    """Rows of the exemplars, and of as many clips of each new class, selected by herding."""
    labels = step.pool.labels.cpu()
    rows = [torch.arange(step.new_count, len(step.pool))]
    count = int(torch.bincount(labels[step.new_count :]).max())
    for label in range(step.known, step.total):
        new = (labels[: step.new_count] == label).nonzero()[:, 0]
        rows.append(new[choose_by_herding(features_of(step, new).cpu(), count)])
    return torch.cat(rows)
