"""The penalised discriminant against a direct computation, and without each clip in turn."""

from __future__ import annotations

import numpy as np
import torch

from avcil.statistics import Moments
from avcil.statistics.discriminant import Discriminant
from avcil.statistics.sharpness import fit_sharpness
from avcil.statistics.shrinkage import oas_weight

PENALTY = np.array([0.5, 0.5, 7.0, 7.0, 7.0, 0.1])


def direct_scores(features, labels, asked) -> np.ndarray:
    """Minus half the Mahalanobis distances, times N, less what all classes share."""
    H, y = features.numpy(), labels.numpy()
    means = np.stack([H[y == c].mean(axis=0) for c in range(3)])
    away = H - means[y]
    K = np.linalg.inv(away.T @ away + np.diag(PENALTY))
    x = asked.numpy()
    distance = [np.einsum("ij,jk,ik->i", x - mean, K, x - mean) for mean in means]
    return len(y) * (np.einsum("ij,jk,ik->i", x, K, x)[:, None] - np.stack(distance, axis=1)) / 2


def discriminant_of(features, labels) -> Discriminant:
    moments = Moments(6)
    moments.grow(3)
    moments.add(features, labels)
    return Discriminant(moments, torch.from_numpy(PENALTY))


def test_scores(make_clips):
    """Differences of Mahalanobis distances."""
    features, labels = make_clips(0)
    found = discriminant_of(features, labels)
    np.testing.assert_allclose(
        features @ found.weight + found.bias, direct_scores(features, labels, features), rtol=1e-9
    )


def test_leave_one_out(make_clips):
    """Each clip's scores are those of the discriminant of the others, up to the factor N for N - 1."""
    features, labels = make_clips(1)
    scores = discriminant_of(features, labels).leave_one_out(features, labels).numpy()
    for i in range(40):
        rest = torch.arange(40) != i
        wanted = direct_scores(features[rest], labels[rest], features[i : i + 1])[0]
        np.testing.assert_allclose(scores[i] * 39 / 40, wanted, rtol=1e-8, atol=1e-8)


def test_shrinkage_goes_with_the_evidence():
    """Many clips of a lopsided cloud need less shrinking than few."""
    covariance = torch.diag(torch.tensor([9.0, 1.0, 0.1], dtype=torch.float64))
    assert 0 < oas_weight(covariance, 1000) < oas_weight(covariance, 10) <= 1


def test_sharpness_is_the_best():
    """No sharpness near the one found has a smaller loss."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (200,), generator=draw)
    scores = torch.randn(200, 4, generator=draw, dtype=torch.float64)
    scores[torch.arange(200), labels] += 1
    best = fit_sharpness(scores, labels)

    def loss(sharpness: float) -> float:
        return float(torch.nn.functional.cross_entropy(sharpness * scores, labels))

    assert all(loss(best) <= loss(best * factor) + 1e-12 for factor in (0.5, 0.9, 0.99, 1.01, 1.1, 2))
