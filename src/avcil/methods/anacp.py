"""AnaCP: features are projected on separated class means, then classified. Momeni, Xiao & Liu, NeurIPS 2025.

    x       = z / |z|                                      (P,), z the scaled and pooled audio and visual features
    h_k     = GELU(x W_k),   k = 1..H                      (D,), random features
    targets = class means, further apart in the coordinates that whiten the scatter within classes
    Theta_k = (sum h_k h_k^T + lambda I)^-1 sum h_k target^T
    u       = mean over k of h_k Theta_k / |h_k Theta_k|
    score   = GELU(u V) Theta,   Theta by ridge regression on x drawn from N(class mean, covariance within classes)

The statistics are sums over clips, so that old clips are not needed, and clips can be forgotten. Compared with the
published code (github.com/SalehMomeni/AnaCP):

- The covariance is that of all clips. The code weights earlier tasks twice.
- The null direction of the centered class means is not enlarged; its sign is arbitrary.
- Each modality has the same length before x is normalized.
- The random numbers of the drawn x depend on the class number, so another order of classes gives a model that differs
  by this noise.

C classes, P pooled width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.closed_form import RidgeFit
from avcil.closed_form.block_moments import BlockMoments
from avcil.closed_form.embedding import Scaling
from avcil.closed_form.joined_embedding import Block
from avcil.closed_form.moments import Moments
from avcil.closed_form.projected_model import ProjectedModel, hidden_features
from avcil.closed_form.ridge import cholesky_with_jitter
from avcil.methods._single_head_method import SingleHeadMethod
from avcil.utils.options import check_range
from avcil.utils.rng import generator

_DIAGONAL, _SMALLEST = 1e-4, 1e-8
"""Added to the diagonal of the covariance, and to its eigenvalues before their square root."""
_RANK = 1e-9
"""Singular values below this fraction of the largest are zero."""


@dataclass(frozen=True, kw_only=True)
class AnacpOptions:
    """Options of AnaCP."""

    features: int = 1000
    """D, random features of each projection and of the classifier. Memory is 8 H D D bytes; published: 5000."""
    projections: int = 3
    """H, number of projections whose mean is used."""
    penalty: float = 100.0
    """lambda, of all ridge regressions; above 0."""
    drawn_clips: int = 100
    """Feature vectors drawn per class to train the classifier."""
    normalize: Scaling = "encoder"
    """encoder: features are scaled by constants of the encoders, then each modality is scaled to a fixed norm.
    first-step: features are standardized with the clips of the first step; also used if the constants are unknown.
    length: each modality is scaled to a fixed norm. both: first-step, then length."""
    calibration_clips: int = 512
    """Size of the random sample of feature vectors that is stored to calibrate probabilities; the weights do not depend
    on it."""

    def __post_init__(self) -> None:
        check_range(self, "features", "projections", "drawn_clips", least=1)
        check_range(self, "penalty", above=0)
        check_range(self, "calibration_clips", least=0)


class Anacp(SingleHeadMethod[BlockMoments]):
    """Projection on separated class means, and ridge regression."""

    name = "anacp"
    summary = "projection on separated class means, then ridge regression; exemplar-free (NeurIPS 2025)"
    Options = AnacpOptions
    model_class = ProjectedModel

    def blocks(self, vectors: int) -> list[Block]:
        """z, and the random features of each projection."""
        features, every = self.options.features, tuple(range(vectors))
        random = [
            self.block_config("gelu", features=features, purpose=f"projection {number}")
            for number in range(self.options.projections)
        ]
        return [(config, every) for config in (self.block_config(), *random)]

    def new_statistics(self, width: int) -> BlockMoments:
        assert self.embedding is not None
        return BlockMoments(self.embedding.sizes)

    def weights(self, statistics: BlockMoments) -> dict[str, Tensor]:
        vectors, *random = statistics.blocks
        means = vectors.means() / vectors.width**0.5
        covariance = vectors.within_scatter() / vectors.width / max(vectors.total, 1.0)
        covariance.diagonal().add_(_DIAGONAL)
        known = statistics.counts > 0
        targets = torch.zeros_like(means)
        targets[known] = separated(means[known], covariance)
        hidden = torch.randn(
            vectors.width, self.options.features, generator=generator(self.seed, "hidden weights")
        )
        projections = torch.stack([RidgeFit(block, self.options.penalty).theta @ targets for block in random])
        drawn = Moments(self.options.features)
        drawn.add_classes(statistics.classes)
        factor = cholesky_with_jitter(covariance)[0]
        for number in known.nonzero()[:, 0].tolist():
            noise = torch.randn(
                self.options.drawn_clips,
                vectors.width,
                dtype=torch.float64,
                generator=generator(self.seed, f"drawn clips {number}"),
            )
            features = self._random_features(means[number] + noise @ factor.T)
            labels = torch.full((len(noise),), number)
            drawn.add(hidden_features(features, projections, hidden), labels)
        classifier = RidgeFit(drawn, self.options.penalty).theta
        return {"projections": projections, "hidden": hidden, "classifier": classifier}

    def _random_features(self, x: Tensor) -> Tensor:
        """Features of all blocks (B, P + H D) of x (B, P)."""
        assert self.embedding is not None
        z = x * x.shape[1] ** 0.5
        return torch.cat([block.of_standardized(z) for block, _ in self.embedding.blocks], dim=1)

    def weights_without(
        self, statistics: BlockMoments, weights: dict[str, Tensor], features: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        return self.weights(statistics.without(features, labels))


def separated(means: Tensor, covariance: Tensor) -> Tensor:
    """Class means further apart, of length 1.

    The centered means are whitened, and 1 is added to each singular value. As in the published code, the result is
    whitened again before the center is added.

    Args:
        means: (C, P).
        covariance: Within classes, (P, P).
    """
    values, vectors = torch.linalg.eigh(covariance)
    whiten = vectors @ torch.diag(1 / (values.clamp(min=0) + _SMALLEST).sqrt()) @ vectors.T
    center = means.mean(dim=0, keepdim=True)
    left, singular, right = torch.linalg.svd((means - center) @ whiten, full_matrices=False)
    is_positive = singular > _RANK * singular.max()
    larger = torch.where(is_positive, singular + 1, 0.0)
    return F.normalize((left * larger) @ right @ whiten + center, dim=1)
