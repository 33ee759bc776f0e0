"""BiC: linear bias correction of logits, fitted on held-out exemplars. Wu et al., CVPR 2019.

    total = (1 - r) CE over all K logits + r KD on the K_old logits,   r = K_old / K
    after the step, on clips held out of training: z_new <- a z_new + b, where a and b minimize the CE over all K logits

A tenth of the exemplars of each old class (at least one) and as many clips of each new class are held out. A single
exemplar of a class is used both for training and for the correction. a and b minimize the cross-entropy with weight
decay 2e-4; they are found by Newton's method, while the paper uses gradient descent. They become part of the weights of
the head, so the corrected network is the teacher and the initial network of the next step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avcil.data.modality import Modality
from avcil.methods._bias_correction import fit_corrections, held_rows, rows_without
from avcil.methods._distillation import BalancedDistillation
from avcil.methods.step import Step
from avcil.utils.options import check_range


@dataclass(frozen=True, kw_only=True)
class BicOptions:
    """Hyper-parameters."""

    temperature_distillation: float = 2.0
    """Temperature T of the distillation loss."""
    held_out: float = 0.1
    """Fraction of the exemplars of each class that is held out to fit the correction; at least one clip."""

    def __post_init__(self) -> None:
        check_range(self, "temperature_distillation", above=0)
        check_range(self, "held_out", above=0, most=1)


class Bic(BalancedDistillation):
    """Distillation, then bias correction fitted on held-out clips."""

    name = "bic"
    summary = "rehearsal with distillation and a linear correction of the new classes' logits (CVPR 2019)"
    Options = BicOptions

    def __init__(self, options: BicOptions, *, modality: Modality) -> None:
        super().__init__(options, modality=modality)
        self.correction = (1.0, 0.0)
        """a and b of the last step."""

    def trained_rows(self, step: Step) -> Tensor | None:
        return rows_without(step, held_rows(step, self.options.held_out)) if step.index else None

    def end_step(self, step: Step) -> None:
        """Fit the correction and make it part of the head."""
        self.correction = (1.0, 0.0)
        if step.index == 0:
            return
        rows = held_rows(step, self.options.held_out)
        logits = step.network.head(step.features(rows))
        ((factor, offset),) = fit_corrections(logits, step.pool.labels[rows], [slice(step.known, step.total)])
        head = step.network.linear_head
        with torch.no_grad():
            head.weight[step.known :] *= factor
            head.bias[step.known :] = factor * head.bias[step.known :] + offset
        self.correction = (factor, offset)

    def report(self) -> dict[str, float]:
        return {"correction_factor": self.correction[0], "correction_offset": self.correction[1]}
