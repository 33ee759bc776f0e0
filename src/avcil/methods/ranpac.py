"""RanPAC-AV: ridge regression on random features of both modalities. After McDonnell et al., NeurIPS 2023.

    h = ReLU(z W / sqrt(P)),   G += H^T H,   Q += H^T Y,   Theta = (G + lambda I)^-1 Q

z is the concatenation of the pooled audio and visual features, standardized with constants of the encoders. The result
equals ridge regression on all clips at once, for any order of clips and classes. If the encoder has no constants,
features are standardized with the clips of the first step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from avcil.closed_form import RIDGES, Moments, RidgeFit, RidgePath, hold_out_error
from avcil.closed_form.block_ridge import choose_penalties
from avcil.closed_form.embedding import Scaling
from avcil.closed_form.head import ClosedFormHead
from avcil.closed_form.joined_embedding import Block
from avcil.errors import InputError
from avcil.methods._head_state import HeadState
from avcil.methods._statistics_method import MomentsMethod
from avcil.utils.options import check_range

Selection = Literal["gcv", "leave-one-out", "hold-out"]
START = 300.0
"""Penalty at which the search of `gcv` starts at every step, so that the result depends only on the moments."""


@dataclass(frozen=True, kw_only=True)
class RanpacOptions:
    """Options of RanPAC-AV."""

    features: int = 2000
    """M, the number of random features. Memory is 8 M M bytes, and 8 M bytes per class (RanPAC: 10000, 0.8 GB)."""
    normalize: Scaling = "encoder"
    """encoder: features are scaled by constants of the encoders, then each modality is scaled to a fixed norm.
    first-step: features are standardized with the clips of the first step; also used if the constants are unknown.
    length: each modality is scaled to a fixed norm. both: first-step, then length."""
    selection: Selection = "gcv"
    """Selection of the penalty. gcv: generalized cross-validation over all clips seen. leave-one-out: on the clips of
    the current step. hold-out: on a fifth of the clips of the current step, as published. The last two depend on how
    clips are grouped in steps."""
    ridge: float = 0.0
    """The penalty lambda; 0: selected by `selection`."""
    balanced: bool = False
    """Give all classes the same total weight, whatever their number of clips. Otherwise, classes with few clips are
    rarely predicted."""

    calibration_clips: int = 512
    """Size of the random sample of feature vectors that is stored to calibrate probabilities; the weights do not depend
    on it."""

    def __post_init__(self) -> None:
        check_range(self, "features", least=1)
        check_range(self, "ridge", "calibration_clips", least=0)
        if self.balanced and self.selection == "hold-out":
            raise InputError(
                "option balanced requires selection=gcv or selection=leave-one-out, not hold-out"
            )


class Ranpac(MomentsMethod):
    """Ridge regression on random features."""

    name = "ranpac"
    summary = "ridge regression on random features, in one pass; exemplar-free (NeurIPS 2023)"
    Options = RanpacOptions

    def blocks(self, vectors: int) -> list[Block]:
        return [(self.block_config("relu", features=self.options.features), tuple(range(vectors)))]

    def update_head_state(self, state: HeadState, features: Tensor, labels: Tensor) -> None:
        if self.options.ridge or self.options.selection == "gcv":
            return
        moments = self.moments_of(state)
        if self.options.selection == "leave-one-out":
            path = RidgePath(self._regressed(moments))
            errors = [path.leave_one_out_error(features, labels, ridge) for ridge in RIDGES]
        else:
            errors = hold_out_error(moments, features, labels, RIDGES)
        state.fitted["ridge"] = RIDGES[int(torch.tensor(errors).argmin())]

    def fit_head(
        self, state: HeadState, moments: Moments, features: Tensor, labels: Tensor
    ) -> ClosedFormHead:
        regressed = self._regressed(moments)
        if self.options.ridge:
            state.fitted["ridge"] = self.options.ridge
        elif self.options.selection == "gcv":
            state.fitted["ridge"] = choose_penalties(regressed, [regressed.width], [START])[0]
        fit = RidgeFit(regressed, state.fitted["ridge"])
        state.fitted["jitter"] = fit.jitter
        return ClosedFormHead(
            columns=state.columns,
            weight=fit.theta,
            bias=torch.zeros(self.classes, dtype=torch.float64),
            inverse_temperature=self.calibrated(state, fit.leave_one_out(features, labels), labels),
        )

    def _regressed(self, moments: Moments) -> Moments:
        return moments.balanced() if self.options.balanced else moments
