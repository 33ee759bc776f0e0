"""RanPAC-AV: ridge regression on random features of both modalities. After McDonnell et al., NeurIPS 2023.

    h = ReLU(z W / sqrt(P)),   G += H^T H,   Q += H^T Y,   Theta = (G + lambda I)^-1 Q

z joins the pooled sound and picture, standardized. It equals ridge regression on all clips at once, whatever the
order of the clips, classes and steps after the first, which sets the standardization.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from avcil.closed_form import RIDGES, Moments, RidgeFit, RidgePath, hold_out_error
from avcil.closed_form.block_ridge import choose_penalties
from avcil.closed_form.embedding import EmbeddingConfig, Normalise
from avcil.closed_form.joined_embedding import Block
from avcil.closed_form.model import LinearHead
from avcil.errors import InputError
from avcil.methods._moments_method import MomentsMethod
from avcil.methods._views import View

Selection = Literal["gcv", "leave-one-out", "hold-out"]
START = 300.0
"""Penalty from which the first search of `gcv` goes down; later ones start where the last ended."""


@dataclass(frozen=True, kw_only=True)
class RanpacOptions:
    """What is to be chosen."""

    features: int = 2000
    """M, random features. Memory is 8 M M bytes and grows with nothing else but 8 M per class; the published
    number is 10000 (0.8 GB)."""
    normalise: Normalise = "first-step"
    """Standardized by the first step's clips, or each modality's vector scaled to length 1."""
    selection: Selection = "gcv"
    """How the penalty is chosen: generalized cross-validation over all clips seen, leave-one-out over the current
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

    def select_hyperparameters(
        self, view: View, moments: Moments, features: Tensor, labels: Tensor
    ) -> LinearHead:
        start = view.figures.get("ridge", START)
        view.figures["ridge"] = self.options.ridge or self._choose(moments, features, labels, start)
        found = self._fit(view, moments)
        view.calibration.add(found.leave_one_out(features, labels), labels)
        return self._head(view, found)

    def _regressed(self, moments: Moments) -> Moments:
        return moments.balanced() if self.options.balanced else moments

    def _choose(self, moments: Moments, features: Tensor, labels: Tensor, start: float) -> float:
        if self.options.selection == "gcv":
            regressed = self._regressed(moments)
            return choose_penalties(regressed, [regressed.width], [start])[0]
        if self.options.selection == "leave-one-out":
            path = RidgePath(self._regressed(moments))
            errors = [path.leave_one_out_error(features, labels, ridge) for ridge in RIDGES]
        else:
            errors = hold_out_error(moments, features, labels, RIDGES)
        return RIDGES[int(torch.tensor(errors).argmin())]

    def fitted(self, view: View, moments: Moments) -> LinearHead:
        return self._head(view, self._fit(view, moments))

    def _fit(self, view: View, moments: Moments) -> RidgeFit:
        return RidgeFit(self._regressed(moments), view.figures["ridge"])

    def _head(self, view: View, found: RidgeFit) -> LinearHead:
        view.figures["jitter"] = found.jitter
        bias = torch.zeros(self.classes, dtype=torch.float64)
        inverse_temperature = view.calibration.inverse_temperature
        return LinearHead(
            columns=view.columns, weight=found.theta, bias=bias, inverse_temperature=inverse_temperature
        )
