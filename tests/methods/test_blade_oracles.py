"""BLADE compared with NumPy computations on all clips, with a refit for every clip left out."""

from __future__ import annotations

import numpy as np
import pytest
from closed_form_oracle import CLASSES, CLIPS, features_of, few_clips, inverse_temperature, trained


@pytest.fixture(scope="module")
def clips():
    return few_clips()


def blade_features(clips) -> np.ndarray:
    """Audio vector, mean and standard deviation of the tokens."""
    tokens = clips[1].double().flatten(1, 2).numpy()
    return np.concatenate([clips[0].double().numpy(), tokens.mean(axis=1), tokens.std(axis=1)], axis=1)


def scaled(raw: np.ndarray) -> np.ndarray:
    """Centered, and divided by the geometric mean of each feature's deviation and its block's."""
    deviation = raw.std(axis=0)
    typical = [np.full(len(own), np.sqrt((own**2).mean())) for own in np.split(deviation, [5, 9])]
    return (raw - raw.mean(axis=0)) / np.sqrt(deviation * np.concatenate(typical))


def blade_scores(x, y, asked, penalty, psi, center) -> np.ndarray:
    """-N / 2 times the squared distance to each class's shrunk mean, without terms common to all classes; W
    has no correlations between the first 5 features (audio) and the others (visual)."""
    averages = np.stack([x[y == c].mean(axis=0) for c in range(y.max() + 1)])
    away = x - averages[y]
    same_modality = np.equal.outer(np.arange(x.shape[1]) < 5, np.arange(x.shape[1]) < 5)
    K = np.linalg.inv(away.T @ away * same_modality + np.diag(penalty))
    ratio = np.bincount(y)[:, None] * psi
    means = (averages - center) * ratio / (1 + ratio)
    distance = np.stack(
        [np.einsum("ij,jk,ik->i", asked - center - m, K, asked - center - m) for m in means], axis=1
    )
    own = np.einsum("ij,jk,ik->i", asked - center, K, asked - center)[:, None]
    return len(x) * (own - distance) / 2


def class_columns(y: np.ndarray) -> np.ndarray:
    """Indicators of the classes with columns of length 1, (N, C)."""
    return np.eye(y.max() + 1)[y] / np.sqrt(np.bincount(y))


def prediction_classifier(x, y, penalty) -> tuple[np.ndarray, np.ndarray]:
    """Discriminant analysis of leave-one-out predictions with the mean leverage: scores are p(z) @ weight + bias."""
    Y = class_columns(y)
    hat = x @ np.linalg.solve(x.T @ x + np.diag(penalty), x.T)
    leverage = (np.trace(hat) + 1) / len(x)
    predictions = (hat @ Y - leverage * Y) / (1 - leverage)
    values, vectors = np.linalg.eigh(Y.T @ predictions)
    agreement = (vectors * values.clip(min=0)) @ vectors.T
    covariance = predictions.T @ predictions - agreement @ agreement + np.eye(Y.shape[1]) / len(x)
    means = agreement / np.sqrt(np.bincount(y))  # a column for each class
    weight = len(x) * np.linalg.solve(covariance, means)
    return weight, -(means * weight).sum(axis=0) / 2


def predictions_of(x, target, asked, penalty) -> np.ndarray:
    """Predictions of ridge regression with an intercept."""
    center, away = x - x.mean(axis=0), target - target.mean(axis=0)
    theta = np.linalg.solve(center.T @ center + np.diag(penalty), center.T @ away)
    return (asked - x.mean(axis=0)) @ theta + target.mean(axis=0)


def spread(classifier, x) -> float:
    """Mean square of the scores over clips and classes, without biases; summed over modalities."""
    total = 0.0
    for own in (np.arange(13) < 5, np.arange(13) >= 5):
        scores = classifier(x * own) - classifier(np.zeros((1, 13)))
        total += ((scores - scores.mean(axis=1, keepdims=True)) ** 2).mean()
    return total


def test_vectors_of_a_clip(clips):
    """Audio vector, mean and standard deviation of the tokens, centered and scaled by all learned clips."""
    method, _ = trained(clips, "blade")
    np.testing.assert_allclose(features_of(method, clips), scaled(blade_features(clips)), atol=1e-6)


def test_blade(clips):
    """Scores of class means and of predictions; calibrated by the discriminants without each clip."""
    method, model = trained(clips, "blade")
    raw, y = blade_features(clips), clips[2].numpy()
    x, target = scaled(raw), class_columns(y)
    penalty, psi = (
        np.repeat([method.fitted[f"{name}{number}"] for number in range(3)], [5, 4, 4])
        for name in ("penalty", "psi")
    )
    modalities = [slice(0, 5), slice(5, 13)]
    maps = [prediction_classifier(x[:, own], y, penalty[own]) for own in modalities]

    def of_means(rows, asked):
        return blade_scores(x[rows], y[rows], asked, penalty, psi, 0)

    def of_predictions(rows, asked):
        total = 0
        for own, (weight, bias) in zip(modalities, maps, strict=True):
            found = predictions_of(x[rows][:, own], target[rows], asked[:, own], penalty[own])
            total = total + (found - target.mean(axis=0)) @ weight + bias
        return total

    everything = np.arange(len(x))
    ratio = np.sqrt(
        spread(lambda asked: of_means(everything, asked), x)
        / spread(lambda asked: of_predictions(everything, asked), x)
    )
    part = (1 - CLASSES / len(x)) ** 2
    share = part / (1 + part)
    head = model.heads["audio-visual"]
    got = model.scores(*clips[:2]).numpy() / head.inverse_temperature
    expected = (1 - share) * of_means(everything, x) + share * ratio * of_predictions(everything, x)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    left_out = []
    for i in everything:
        rest = everything != i
        means = of_means(rest, x[[i]])[0] * len(x) / (len(x) - 1)
        left_out.append((1 - share) * means + share * ratio * of_predictions(rest, x[[i]])[0])
    assert head.inverse_temperature == inverse_temperature(np.stack(left_out), clips[2])


def test_blade_prior_of_class_means(clips):
    """psi by one-way analysis of variance, traces of scaled features, blended with its prior."""
    method, _ = trained(clips, "blade")
    raw, y = blade_features(clips), clips[2].numpy()
    x = scaled(raw)
    averages = np.stack([x[y == c].mean(axis=0) for c in range(CLASSES)])
    within = ((x - averages[y]) ** 2).sum(axis=0) / (len(x) - CLASSES)
    between = CLIPS * (averages**2).sum(axis=0) / (CLASSES - 1)
    for number, (own, prior) in enumerate(zip(np.split(np.arange(13), [5, 9]), (1.2, 0.4, 0.2), strict=True)):
        estimate = max(2 * (between[own].sum() / within[own].sum() - 1) / CLIPS, 0)
        dof = len(x) - CLASSES
        expected = (dof * estimate + 10 * prior) / (dof + 10)
        assert method.fitted[f"psi{number}"] == pytest.approx(expected, rel=1e-6)
