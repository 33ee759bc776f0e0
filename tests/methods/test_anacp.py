"""AnaCP compared with its published equations on all clips at once, and damaged files."""

from __future__ import annotations

import numpy as np
import pytest
import scipy
import torch
from closed_form_oracle import CLASSES, few_clips, ridge, trained, uncalibrated, unit_features

from avcil.errors import AvcilError
from avcil.utils.rng import generator


@pytest.fixture(scope="module")
def clips():
    return few_clips()


def test_anacp(clips):
    """The published equations on all clips at once, with the same random weights and drawn vectors."""
    method, model = trained(
        clips, "anacp", "features=9", "projections=2", "penalty=3", "drawn_clips=20", "normalize=length"
    )
    y, x = clips[2].numpy(), unit_features(clips)
    width = x.shape[1]
    x = x / np.sqrt(width)
    means = np.stack([x[y == c].mean(axis=0) for c in range(CLASSES)])
    away = x - means[y]
    covariance = away.T @ away / len(x) + 1e-4 * np.eye(width)
    whiten = scipy.linalg.fractional_matrix_power(covariance + 1e-8 * np.eye(width), -0.5)
    center = means.mean(axis=0)
    left, singular, right = np.linalg.svd((means - center) @ whiten, full_matrices=False)
    larger = singular + (np.arange(CLASSES) < CLASSES - 1)  # centered means have rank C - 1
    targets = left @ np.diag(larger) @ right @ whiten + center
    targets /= np.linalg.norm(targets, axis=1, keepdims=True)

    def hidden(points, weight):
        product = points @ weight
        return product * scipy.stats.norm.cdf(product)

    def project(points):
        units = []
        for weight, theta in zip(weights, thetas, strict=True):
            out = hidden(points, weight) @ theta
            units.append(out / np.linalg.norm(out, axis=1, keepdims=True))
        return np.mean(units, axis=0)

    blocks = [embedding for embedding, _ in method.embedding.blocks[1:]]
    weights = [block.tensors()["weight"].double().numpy() for block in blocks]
    thetas = [ridge(hidden(x, weight), targets[y], 3.0) for weight in weights]
    V = torch.randn(width, 9, generator=generator(0, "hidden weights")).double().numpy()
    root = np.linalg.cholesky(covariance)
    drawn = np.concatenate(
        [
            means[c]
            + torch.randn(20, width, dtype=torch.float64, generator=generator(0, f"drawn clips {c}")).numpy()
            @ root.T
            for c in range(CLASSES)
        ]
    )
    theta = ridge(hidden(project(drawn), V), np.eye(CLASSES)[np.arange(CLASSES).repeat(20)], 3.0)
    np.testing.assert_allclose(uncalibrated(method, model, clips), hidden(project(x), V) @ theta, atol=1e-8)


def test_damaged_anacp(clips):
    """Invalid tensors and settings raise errors of avcil, also if the covariance is not positive definite."""
    method, model = trained(clips, "anacp", "features=9", "projections=2", "drawn_clips=20")
    config, tensors, state = model.to_config(), model.tensors(), method.tensors()
    for changed in ({"modality": "audio"}, {"pooling": "mean-deviation"}):
        with pytest.raises(AvcilError, match="the embedding uses 2 of"):
            type(method).load_model(config | changed, tensors)
    with pytest.raises(AvcilError, match="'sums' is"):
        method.load(state | {"moments.0.sums": torch.tensor(1.0)})
    method.load(state | {"moments.0.gram": -state["moments.0.gram"]})
    with pytest.raises(AvcilError, match="not positive definite"):
        method.solve()
