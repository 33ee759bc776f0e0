"""WA: weight aligning, new classes' weights scaled to the old ones' norm. Zhao et al., CVPR 2020.

    total = (1 - r) CE over all K logits + r KD on the K_old logits,   r = K_old / K
    after each update of the weights: W <- max(W, 0)
    after the step: W_new <- W_new mean |w_old| / mean |w_new|

The means are over classes. With weights of at least 0, a larger norm means larger logits, because features are not
negative. Common implementations omit this; with 4 exemplars per class, accuracy is then much lower (docs/log.md).
Published: T = 2, herded exemplars, new clips and exemplars in one set. The aligned network is the next step's teacher.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from avcil.methods._distillation import BalancedDistillation
from avcil.methods.step import Step
from avcil.nn.network import Network
from avcil.utils.options import check_range


@dataclass(frozen=True, kw_only=True)
class WaOptions:
    """Hyper-parameters."""

    temperature_distillation: float = 2.0
    """Temperature T of the distillation loss."""
    clip_weights: bool = True
    """Whether weights of the head below 0 are set to 0 after each update, as published."""

    def __post_init__(self) -> None:
        check_range(self, "temperature_distillation", above=0)


class Wa(BalancedDistillation):
    """Distillation, then weight aligning."""

    name = "wa"
    summary = (
        "rehearsal with distillation; the new classes' weights are scaled to the old ones' norm (CVPR 2020)"
    )
    Options = WaOptions

    def after_update(self, network: Network) -> None:
        """Set negative weights of the head to 0."""
        if self.options.clip_weights:
            with torch.no_grad():
                network.linear_head.weight.clamp_(min=0)

    def end_step(self, step: Step) -> None:
        """Align the new classes' weights."""
        if step.index == 0:
            return
        head = step.network.linear_head
        with torch.no_grad():
            norms = head.weight.norm(dim=1)
            head.weight[step.known :] *= norms[: step.known].mean() / norms[step.known :].mean()
