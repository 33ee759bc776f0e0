"""Shrunk linear discriminant analysis, streaming. After SLDA (Hayes & Kanan 2020), RanDumb and KLDA (2024).

    S = sum_i (phi_i - mu_c(i)) (phi_i - mu_c(i))^T,   Sigma = (1 - rho) S / N + rho tr(S / N) / M I
    w_c = Sigma^-1 mu_c,   b_c = -mu_c^T Sigma^-1 mu_c / 2,   score_c = w_c^T phi + b_c

phi are the features z standardized with all learned clips, or random Fourier features of features that are standardized
with constants of the encoders (kernel discriminant analysis with a Gaussian kernel). All classes have the same prior
probability, independent of their numbers of clips.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from avcil.closed_form import Moments, cholesky_with_jitter, held_out
from avcil.closed_form.class_moments import ClassMoments
from avcil.closed_form.embedding import EmbeddingConfig, Scaling
from avcil.closed_form.head import ClosedFormHead
from avcil.closed_form.joined_embedding import Block
from avcil.closed_form.shrinkage import oas_weight, shrunk
from avcil.methods._head_state import HeadState
from avcil.methods._statistics_method import MomentsMethod
from avcil.utils.options import check_range

_ROUNDING = 1e-9
"""A variance within classes below this fraction of the second moments is a rounding error."""


@dataclass(frozen=True, kw_only=True)
class SldaOptions:
    """Options of SLDA."""

    kernel: Literal["fourier", "linear"] = "fourier"
    """fourier: random Fourier features of a Gaussian kernel, whose width is the typical distance between clips.
    linear: the pooled features."""
    features: int = 2000
    """Fourier kernel: M, the number of random features; memory is 8 M M bytes. Linear kernel: not used; M is the width
    of the pooled features."""
    normalize: Scaling = "encoder"
    """encoder: features are scaled by constants of the encoders. Then, for the Fourier kernel, each modality is scaled
    to a fixed norm; for the linear kernel, features are standardized with all clips learned. first-step: features are
    standardized with the clips of the first step; also used for the Fourier kernel if the constants are unknown.
    length: each modality is scaled to a fixed norm. both: first-step, then length."""
    shrinkage: float = -1.0
    """rho, the shrinkage, from 0 to 1. Below 0: estimated from the statistics by the oracle-approximating formula."""

    calibration_clips: int = 512
    """Size of the random sample of feature vectors that is stored to calibrate probabilities; the weights do not depend
    on it."""

    def __post_init__(self) -> None:
        check_range(self, "features", least=1)
        check_range(self, "shrinkage", most=1)
        check_range(self, "calibration_clips", least=0)


class Slda(MomentsMethod):
    """Linear discriminant analysis with one covariance for all classes."""

    name = "slda"
    summary = "streaming linear discriminant analysis, linear or Gaussian kernel; exemplar-free (CVPRW 2020)"
    Options = SldaOptions

    @property
    def _scales_by_all_clips(self) -> bool:
        return self.options.kernel == "linear" and self.options.normalize == "encoder"

    def blocks(self, vectors: int) -> list[Block]:
        config = EmbeddingConfig(
            normalize="all-clips" if self._scales_by_all_clips else self.scaling(to_length=True),
            activation="fourier" if self.options.kernel == "fourier" else "none",
            features=self.options.features,
            seed=self.seed,
        )
        return [(config, tuple(range(vectors)))]

    def fit_head(
        self, state: HeadState, moments: Moments, features: Tensor, labels: Tensor
    ) -> ClosedFormHead:
        """Fit the inverse temperature to a fifth of the sample, with a discriminant of all other clips.

        Softmax scores of the discriminant are posterior probabilities only if the classes are Gaussian.
        """
        weight, bias = self._discriminant(state, moments)
        fitted = dict(state.fitted)
        held = held_out(self._vectors(state), labels)
        scores = torch.zeros(0, self.classes)
        if held.any():
            held_weight, held_bias = self._discriminant(state, moments.without(features[held], labels[held]))
            scores = features[held] @ held_weight + held_bias
        state.fitted.update(fitted)
        return ClosedFormHead(
            columns=state.columns,
            weight=weight,
            bias=bias,
            inverse_temperature=self.calibrated(state, scores, labels[held]),
        )

    def _vectors(self, state: HeadState) -> Tensor:
        """The unscaled vectors of the sample: the choice of held-out clips must not depend on the scaling."""
        assert self.sample is not None
        return (
            self.sample.vectors if self.options.kernel == "fourier" else self.sample.vectors[:, state.columns]
        )

    def _discriminant(self, state: HeadState, moments: Moments) -> tuple[Tensor, Tensor]:
        """w (m, C) and b (C,) for the unscaled features of a head; stores the fitted values."""
        standard = ClassMoments.of(moments).standardized() if self._scales_by_all_clips else None
        scaled = moments if standard is None else standard.moments
        rho = self.options.shrinkage
        if rho < 0:
            rho = oas_weight(_covariance(scaled), scaled.total)
        weight, bias, jitter = _solve(scaled, rho)
        state.fitted["shrinkage"], state.fitted["jitter"] = rho, jitter
        if standard is not None:
            weight = standard.inverse_deviation[:, None] * weight
            bias = bias - standard.mean @ weight
        return weight, bias


def _covariance(moments: Moments) -> Tensor:
    """The covariance within classes (M, M).

    With one clip of each class, it is a multiple of the identity with the trace of the second moments of all clips; the
    discriminant is then a nearest-mean classifier.
    """
    covariance, total = moments.within_scatter() / moments.total, float(moments.gram.trace()) / moments.total
    if moments.counts.max() > 1 and float(covariance.trace()) > _ROUNDING * total:
        return covariance
    return torch.eye(moments.width, dtype=torch.float64) * (total / moments.width or 1.0)


def _solve(moments: Moments, rho: float) -> tuple[Tensor, Tensor, float]:
    """w (M, C), b (C,) and the jitter of the Cholesky factorization of Sigma."""
    factor, jitter = cholesky_with_jitter(shrunk(_covariance(moments), rho))
    means = moments.means().T
    weight = torch.cholesky_solve(means, factor)
    return weight, -(means * weight).sum(dim=0) / 2, jitter
