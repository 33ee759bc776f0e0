"""RanPAC-AV: ridge regression on random features of both modalities. After McDonnell et al., NeurIPS 2023.

    h = ReLU(z W / sqrt(P)),   G += H^T H,   Q += H^T Y,   Theta = (G + lambda I)^-1 Q

z joins the pooled sound and picture, standardised. It equals ridge regression on all clips at once, whatever the
order of the clips, classes and steps after the first, which sets the standardisation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from avcil.errors import InputError
from avcil.methods._moments_method import MomentsMethod
from avcil.methods._views import View
from avcil.models.closed_form import LinearHead
from avcil.models.embedding import EmbeddingConfig, Normalise
from avcil.models.joined_embedding import Block
from avcil.statistics import RIDGES, Moments, RidgePath, hold_out_error, solve_ridge

Selection = Literal["gcv", "leave-one-out", "hold-out"]


@dataclass(frozen=True, kw_only=True)
class RanpacOptions:
    """What is to be chosen."""

    features: int = 2000
    """M, random features. Memory is 8 M M bytes and grows with nothing else but 8 M per class; the published
    number is 10000 (0.8 GB)."""
    normalise: Normalise = "first-step"
    """Standardised by the first step's clips, or each modality's vector scaled to length 1."""
    selection: Selection = "gcv"
    """How the penalty is chosen: generalised cross-validation over all clips seen, leave-one-out over the current
    step's, or holding out a fifth of the current step's (as published)."""
    ridge: float = 0.0
    """A penalty lambda of your own; 0: chosen by `selection`."""
    balanced: bool = False
    """Regress as if all classes had equally many clips: else classes with few are rarely answered."""

    def __post_init__(self) -> None:
        if self.features < 1:
            raise InputError(f"option features must be 1 or more; not {self.features}")
        if not self.ridge >= 0:
            raise InputError(f"option ridge must be 0 or more; not {self.ridge}")
        if self.balanced and self.selection == "hold-out":
            raise InputError(
                "option balanced goes with selection=gcv or selection=leave-one-out, not hold-out"
            )


class Ranpac(MomentsMethod):
    """Ridge regression on random features."""

    name = "ranpac"
    summary = (
        "ridge regression on random features, in one pass and without exemplars (after RanPAC, NeurIPS 2023)"
    )
    Options = RanpacOptions

    def blocks(self, vectors: int) -> list[Block]:
        config = EmbeddingConfig(
            normalise=self.options.normalise,
            activation="relu",
            features=self.options.features,
            seed=self.seed,
        )
        return [(config, tuple(range(vectors)))]

    def settle(self, view: View, moments: Moments, old: Moments, features: Tensor, labels: Tensor) -> None:
        path = RidgePath(self._regressed(moments))
        ridge = self.options.ridge or self._choose(path, features, labels, old)
        view.figures["ridge"] = ridge
        view.calibration.add(path.leave_one_out(features, labels, ridge), labels)

    def _regressed(self, moments: Moments) -> Moments:
        return moments.balanced() if self.options.balanced else moments

    def _choose(self, path: RidgePath, features: Tensor, labels: Tensor, old: Moments) -> float:
        if self.options.selection == "gcv":
            errors = [path.gcv(ridge) for ridge in RIDGES]
        elif self.options.selection == "leave-one-out":
            errors = [path.leave_one_out_error(features, labels, ridge) for ridge in RIDGES]
        else:
            errors = hold_out_error(old, features, labels, RIDGES)
        return RIDGES[int(torch.tensor(errors).argmin())]

    def fitted(self, view: View, moments: Moments) -> LinearHead:
        weight, view.figures["jitter"] = solve_ridge(self._regressed(moments), view.figures["ridge"])
        bias = torch.zeros(self.classes, dtype=torch.float64)
        sharpness = view.calibration.sharpness
        return LinearHead(columns=view.columns, weight=weight, bias=bias, sharpness=sharpness)
