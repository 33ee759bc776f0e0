"""Shrunk linear discriminant analysis, streaming. After SLDA (Hayes & Kanan 2020), RanDumb and KLDA (2024).

    S = sum_i (phi_i - mu_c(i)) (phi_i - mu_c(i))^T,   Sigma = (1 - rho) S / N + rho tr(S / N) / M I
    w_c = Sigma^-1 mu_c,   b_c = -mu_c^T Sigma^-1 mu_c / 2,   score_c = w_c^T phi + b_c

phi is the standardized clip itself (z), or random Fourier features of it, which makes it the discriminant analysis
of a Gaussian kernel. All classes count alike, however many clips each has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from avcil.closed_form import Moments, cholesky_with_jitter, held_out
from avcil.closed_form.embedding import EmbeddingConfig, Normalise
from avcil.closed_form.joined_embedding import Block
from avcil.closed_form.model import LinearHead
from avcil.closed_form.shrinkage import oas_weight, shrunk
from avcil.errors import InputError
from avcil.methods._moments_method import MomentsMethod
from avcil.methods._views import View


@dataclass(frozen=True, kw_only=True)
class SldaOptions:
    """What is to be chosen."""

    kernel: Literal["fourier", "linear"] = "fourier"
    """phi: random Fourier features of a Gaussian kernel, as wide as the median distance between clips of the first
    step; or the clip as it is."""
    features: int = 2000
    """M of the Fourier features; memory is 8 M M bytes. Linear: M is the width of the pooled clip."""
    normalise: Normalise = "first-step"
    """Standardized by the first step's clips, or each modality's vector scaled to length 1."""
    shrinkage: float = -1.0
    """rho, from 0 to 1; below 0: by the oracle-approximating formula, from the statistics."""

    def __post_init__(self) -> None:
        if self.features < 1:
            raise InputError(f"option features must be 1 or more; not {self.features}")
        if not self.shrinkage <= 1:
            raise InputError(f"option shrinkage must be at most 1; not {self.shrinkage}")


class Slda(MomentsMethod):
    """Linear discriminant analysis with one covariance for all classes."""

    name = "slda"
    summary = "shrunk linear discriminant analysis, plain or of a Gaussian kernel, in one pass and without exemplars"
    Options = SldaOptions

    def blocks(self, vectors: int) -> list[Block]:
        config = EmbeddingConfig(
            normalise=self.options.normalise,
            activation="fourier" if self.options.kernel == "fourier" else "none",
            features=self.options.features,
            seed=self.seed,
        )
        return [(config, tuple(range(vectors)))]

    def select_hyperparameters(
        self, view: View, moments: Moments, features: Tensor, labels: Tensor
    ) -> LinearHead:
        """The discriminant is its own posterior only where clips are Gaussian; its sharpness is fitted to
        the fifth of the step that a discriminant of the rest has not seen."""
        held = held_out(features, labels)
        if held.any():
            rest = moments.without(features[held], labels[held])
            weight, bias, _ = discriminant(rest, self._rho(rest))
            view.calibration.add(features[held] @ weight + bias, labels[held])
        return self.fitted(view, moments)

    def _rho(self, moments: Moments) -> float:
        if self.options.shrinkage >= 0:
            return self.options.shrinkage
        return oas_weight(moments.within_scatter() / moments.total, moments.total)

    def fitted(self, view: View, moments: Moments) -> LinearHead:
        view.figures["shrinkage"] = self._rho(moments)
        weight, bias, view.figures["jitter"] = discriminant(moments, view.figures["shrinkage"])
        inverse_temperature = view.calibration.inverse_temperature
        return LinearHead(
            columns=view.columns, weight=weight, bias=bias, inverse_temperature=inverse_temperature
        )


def discriminant(moments: Moments, rho: float) -> tuple[Tensor, Tensor, float]:
    """w (M, C), b (C,) and the jitter that the Cholesky factor of Sigma took."""
    factor, jitter = cholesky_with_jitter(shrunk(moments.within_scatter() / moments.total, rho))
    means = moments.means().T
    weight = torch.cholesky_solve(means, factor)
    return weight, -(means * weight).sum(dim=0) / 2, jitter
