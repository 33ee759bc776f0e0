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

import torch
from torch import Tensor

from avcil.closed_form import cholesky_with_jitter
from avcil.closed_form.class_gaussians import ClassGaussians
from avcil.closed_form.class_moments import ClassMoments
from avcil.closed_form.embedding import Scaling
from avcil.closed_form.quadratic_model import QuadraticModel
from avcil.closed_form.symmetric import inverse_of_cholesky
from avcil.methods._single_head_method import SingleHeadMethod
from avcil.utils.options import check_range

_ROUNDING = 1e-6
"""A variance within a class below this fraction of the features' mean square is a rounding error."""


@dataclass(frozen=True, kw_only=True)
class FecamOptions:
    """Options of FeCAM."""

    shrink_diagonal: float = 1.0
    """g1: this multiple of the mean variance is added to the variances."""
    shrink_others: float = 0.0
    """g2: this multiple of the mean covariance is added to the covariances."""
    normalize: Scaling = "both"
    """both: features are standardized with the clips of the first step, then each modality is scaled to a fixed norm.
    first-step: standardized only. length: scaled to a fixed norm only, as published, for features that are already
    standardized. encoder: standardized with constants of the encoders, then to a fixed norm, so that the order of
    the classes and removed clips have no effect; as first-step if the constants are unknown."""
    calibration_clips: int = 512
    """Size of the random sample of feature vectors that is stored to calibrate probabilities; the distances do not
    depend on it."""

    def __post_init__(self) -> None:
        check_range(self, "shrink_diagonal", above=0)
        check_range(self, "shrink_others", least=0)
        check_range(self, "calibration_clips", least=0)


class Fecam(SingleHeadMethod[ClassGaussians]):
    """A Gaussian for each class, with the correlation matrix instead of the covariance matrix."""

    name = "fecam"
    summary = "distances under the covariance of each class; exemplar-free (NeurIPS 2023)"
    Options = FecamOptions
    model_class = QuadraticModel

    def new_statistics(self, width: int) -> ClassGaussians:
        return ClassGaussians(width)

    def weights(self, statistics: ClassGaussians) -> dict[str, Tensor]:
        return {
            "means": torch.cat([moments.means for moments in statistics.moments]),
            "matrices": torch.stack([self._matrix(moments) for moments in statistics.moments]),
        }

    def weights_without(
        self, statistics: ClassGaussians, weights: dict[str, Tensor], features: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        changed = {name: tensor.clone() for name, tensor in weights.items()}
        for label in labels.unique().tolist():
            remaining = statistics.without(label, features[labels == label])
            changed["means"][label], changed["matrices"][label] = remaining.means[0], self._matrix(remaining)
        return changed

    def _matrix(self, moments: ClassMoments) -> Tensor:
        """A_c (P, P) of a class."""
        width = moments.width
        covariance = moments.within / max(moments.total - 1, 1)
        variance = covariance.diagonal().mean()
        if moments.total < 2 or variance <= _ROUNDING * moments.means.square().mean():
            return torch.eye(width, dtype=torch.float64)
        others = ~torch.eye(width, dtype=torch.bool)
        mean_covariance = covariance[others].mean() if width > 1 else torch.tensor(0.0)
        shrunk = covariance + self.options.shrink_others * mean_covariance * others
        shrunk.diagonal().add_(self.options.shrink_diagonal * variance)
        deviation = shrunk.diagonal().sqrt()
        factor, _ = cholesky_with_jitter(shrunk / deviation / deviation[:, None])
        return inverse_of_cholesky(factor)
