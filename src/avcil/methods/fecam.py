"""FeCAM: distance from class means under each class's own covariance. Goswami et al., NeurIPS 2023.

    S_c = cov(h of class c) + g1 v1 I + g2 v2 (1 - I),   v1, v2: mean of the covariance's diagonal and other elements
    A_c = (S_c / (d d^T))^-1,  d = sqrt(diag S_c);       score_c = -(h - mu_c)^T A_c (h - mu_c)

h is the concatenation of the pooled audio and visual features, each scaled to a fixed length. Published for pretrained
vision transformers: features of length 1, g1 = 1, g2 = 0, and no Tukey transform, which is for features that are never
negative. Apart from the scaling, the state of a class depends only on its clips: their mean and a symmetric matrix of
4 P P bytes (9 MB per class for P = 1536). For a class with one clip, A_c is the identity.

k clips of the calibration sample, P width, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from avcil.closed_form import cholesky_with_jitter, held_out
from avcil.closed_form.calibration import Calibration
from avcil.closed_form.class_gaussians import ClassGaussians
from avcil.closed_form.class_moments import ClassMoments
from avcil.closed_form.embedding import EmbeddingConfig, Scaling
from avcil.closed_form.head import ClosedFormHead
from avcil.closed_form.joined_embedding import Block
from avcil.closed_form.quadratic_model import QuadraticScores, quadratic_scores
from avcil.closed_form.symmetric import mirror
from avcil.errors import AvcilError, InputError
from avcil.methods._head_state import HeadState
from avcil.methods._statistics_method import StatisticsMethod
from avcil.methods._stepwise_method import check_calibration_clips

ROUNDING = 1e-6
"""A variance within a class below this fraction of the features' mean square is a rounding error."""


@dataclass(frozen=True, kw_only=True)
class FecamOptions:
    """Options of FeCAM."""

    shrink_diagonal: float = 1.0
    """g1: this multiple of the mean variance is added to the variances."""
    shrink_others: float = 0.0
    """g2: this multiple of the mean covariance is added to the covariances."""
    normalize: Scaling = "both"
    """both: features are standardized with the clips of the first step, then each modality is scaled to one length.
    first-step: standardized only. length: scaled to one length only, as published, for features that are already
    standardized. encoder: standardized with constants of the encoders, then scaled to one length, so that the order of
    the classes and removed clips have no effect; as first-step if the constants are unknown."""
    calibration_clips: int = 512
    """Size of the random sample of feature vectors that is stored to calibrate probabilities; the distances do not
    depend on it."""

    def __post_init__(self) -> None:
        check_calibration_clips(self.calibration_clips)
        if not self.shrink_diagonal > 0:
            raise InputError(f"option shrink_diagonal must be above 0; not {self.shrink_diagonal}")


class Fecam(StatisticsMethod[ClassGaussians]):
    """A Gaussian for each class, with the correlation matrix instead of the covariance matrix."""

    name = "fecam"
    summary = "distances under the covariance of each class, without exemplars (FeCAM, NeurIPS 2023)"
    Options = FecamOptions

    def blocks(self, vectors: int) -> list[Block]:
        config = EmbeddingConfig(
            normalize=self.scaling(to_length=True), activation="none", features=0, seed=self.seed
        )
        return [(config, tuple(range(vectors)))]

    def new_statistics(self, width: int) -> ClassGaussians:
        return ClassGaussians(width)

    def load_statistics(self, tensors: dict[str, Tensor], width: int) -> ClassGaussians:
        return ClassGaussians.from_tensors(tensors, width)

    def make_head_states(self) -> list[HeadState]:
        """Only for the method's modality: A_c cannot be restricted to one modality."""
        return super().make_head_states()[:1]

    def head(self, state: HeadState) -> ClosedFormHead:
        """Not available: the scores are not linear."""
        raise AvcilError("method fecam has no linear head")

    def solve(self) -> QuadraticScores:
        self.flush()
        if self.embedding is None or self.statistics is None:
            raise AvcilError(f"method {self.name} has no clips yet")
        means = torch.cat([moments.means for moments in self.statistics.moments])
        matrices = torch.stack([self._matrix(moments) for moments in self.statistics.moments])
        inverse_temperature = self._inverse_temperature(self.statistics, means, matrices)
        self.head_states[0].inverse_temperature = inverse_temperature
        return QuadraticScores(
            self.name,
            self.modality,
            pooling=self.pooling,
            embedding=self.embedding,
            inverse_temperature=inverse_temperature,
            own={"means": means, "matrices": matrices},
        )

    def _matrix(self, moments: ClassMoments) -> Tensor:
        """A_c (P, P) of a class."""
        width = moments.width
        covariance = moments.within / max(moments.total - 1, 1)
        variance = covariance.diagonal().mean()
        if moments.total < 2 or variance <= ROUNDING * moments.means.square().mean():
            return torch.eye(width, dtype=torch.float64)
        others = ~torch.eye(width, dtype=torch.bool)
        mean_covariance = covariance[others].mean() if width > 1 else torch.tensor(0.0)
        shrunk = covariance + self.options.shrink_others * mean_covariance * others
        shrunk.diagonal().add_(self.options.shrink_diagonal * variance)
        deviation = shrunk.diagonal().sqrt()
        factor, _ = cholesky_with_jitter(shrunk / deviation / deviation[:, None])
        inverse = torch.cholesky_inverse(factor)
        mirror(inverse)
        return inverse

    def _inverse_temperature(self, statistics: ClassGaussians, means: Tensor, matrices: Tensor) -> float:
        """The inverse temperature, fitted to a fifth of the sample with the statistics of the other clips."""
        assert self.sample is not None
        labels, calibration = self.sample.labels, Calibration()
        held = held_out(self.sample.vectors, labels)
        if self.classes < 2 or not held.any():
            return calibration.inverse_temperature
        features, labels = self.sample_features()[held], labels[held]
        means, matrices = means.clone(), matrices.clone()
        for label in labels.unique().tolist():
            remaining = statistics.without(label, features[labels == label])
            means[label], matrices[label] = remaining.means[0], self._matrix(remaining)
        calibration.add(quadratic_scores(features, means, matrices), labels)
        return calibration.inverse_temperature

    @classmethod
    def load_model(cls, config: dict[str, Any], tensors: dict[str, Tensor]) -> QuadraticScores:
        return QuadraticScores.from_config(cls.name, config, tensors)
