"""Methods with distances from class means, compared with NumPy computations on all clips."""

from __future__ import annotations

import numpy as np
import pytest
from closed_form_oracle import (
    CLASSES,
    features_of,
    few_clips,
    inverse_temperature,
    mahalanobis,
    trained,
    uncalibrated,
    unit_features,
)

from avcil.closed_form import held_out


@pytest.fixture(scope="module")
def clips():
    return few_clips()


@pytest.mark.parametrize("kernel", ["linear", "fourier"])
def test_slda(clips, kernel):
    """Distances under the shrunk covariance, calibrated with clips that its discriminant was not fitted to."""
    method, model = trained(clips, "slda", f"kernel={kernel}", "features=9", "shrinkage=0.3")
    H, y = features_of(method, clips), clips[2].numpy()
    sample = method.embedding(method.sample.vectors.double().split([5, 4], dim=1))
    labels = method.sample.labels

    def scaled_by(own):
        mean, deviation = (own.mean(axis=0), own.std(axis=0)) if kernel == "linear" else (0, 1)
        return lambda x: (x - mean) / deviation

    def shrunk(count):
        def sigma(scatter):
            S = scatter / count
            return 0.7 * S + 0.3 * np.trace(S) / len(S) * np.eye(len(S))

        return sigma

    z = scaled_by(H)(H)
    expected = mahalanobis(z, y, z, shrunk(len(y)))
    np.testing.assert_allclose(uncalibrated(method, model, clips), expected, atol=1e-8)
    held = held_out(method.sample.vectors, labels)
    asked = sample[held].numpy()
    rest = np.abs(H[:, None] - asked).max(axis=2).min(axis=1) > 1e-5  # the sample is kept in float32
    assert rest.sum() == len(H) - CLASSES
    scale = scaled_by(H[rest])
    got = mahalanobis(scale(H[rest]), y[rest], scale(asked), shrunk(rest.sum()))
    assert method.report()["inverse_temperature"] == inverse_temperature(got, labels[held])


def test_randumb(clips):
    """Cosine features of a Gaussian kernel; distances under the shrunk covariance within classes."""
    method, model = trained(clips, "randumb", "features=9", "shrinkage=0.2", "normalize=length")
    (embedding, _), *_ = method.embedding.blocks
    weight, offset = (embedding.tensors()[name].double().numpy() for name in ("weight", "offset"))
    z = unit_features(clips)
    phi = np.sqrt(2 / 9) * np.cos(z @ weight / np.sqrt(z.shape[1]) + offset)
    y = clips[2].numpy()

    def sigma(scatter):
        S = scatter / len(y)
        return 0.8 * S + 0.2 * np.trace(S) / 9 * np.eye(9)

    expected = mahalanobis(phi, y, phi, sigma)
    np.testing.assert_allclose(uncalibrated(method, model, clips), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_ncm(clips, metric):
    """Cosine similarity to, or distance from, the mean of each class's features; calibrated by leave-one-out means."""
    method, model = trained(clips, "ncm", f"metric={metric}", "normalize=length")
    h, y = unit_features(clips), clips[2].numpy()

    def scores(asked, known, labels):
        means = np.stack([known[labels == c].mean(axis=0) for c in range(CLASSES)])
        if metric == "cosine":
            return asked @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
        return -(np.linalg.norm(asked[:, None] - means, axis=2) ** 2) / 2

    got, expected = uncalibrated(method, model, clips), scores(h, h, y)
    if metric == "euclidean":  # up to terms common to all classes
        expected = expected + (h**2).sum(axis=1, keepdims=True) / 2
    np.testing.assert_allclose(got, expected, atol=1e-10)
    every = np.arange(len(h))
    left_out = np.stack([scores(h[[i]], h[every != i], y[every != i])[0] for i in every])
    assert method.report()["inverse_temperature"] == inverse_temperature(left_out, clips[2])


def test_fecam(clips):
    """Mahalanobis distance under each class's shrunk and normalized covariance, by NumPy's covariance and inverse."""
    method, model = trained(clips, "fecam", "shrink_diagonal=0.7", "shrink_others=0.2", "normalize=length")
    h, y = unit_features(clips), clips[2].numpy()
    expected = np.zeros((len(h), CLASSES))
    for c in range(CLASSES):
        covariance = np.cov(h[y == c].T)
        others = covariance[~np.eye(len(covariance), dtype=bool)].mean()
        shrunk = covariance + 0.7 * np.diag(covariance).mean() * np.eye(len(covariance))
        shrunk += 0.2 * others * (1 - np.eye(len(covariance)))
        normalized = shrunk / np.sqrt(np.outer(np.diag(shrunk), np.diag(shrunk)))
        away = h - h[y == c].mean(axis=0)
        expected[:, c] = -np.einsum("ij,jk,ik->i", away, np.linalg.pinv(normalized), away)
    np.testing.assert_allclose(uncalibrated(method, model, clips), expected, rtol=1e-8, atol=1e-8)
