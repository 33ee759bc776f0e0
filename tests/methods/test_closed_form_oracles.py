"""Each closed form's scores and calibration against NumPy that sees all clips and refits for every clip left out."""

from __future__ import annotations

import numpy as np
import pytest
import scipy
import torch

from avcil.closed_form import held_out
from avcil.closed_form.calibration import Calibration
from avcil.errors import AvcilError
from avcil.methods.registry import load_method, parse_options
from avcil.utils.rng import generator

CLASSES, CLIPS = 4, 7
STEPS = (np.arange(2 * CLIPS), np.arange(2 * CLIPS, 4 * CLIPS))
SEEN = (np.arange(2 * CLIPS), np.arange(4 * CLIPS))
"""Rows of all clips seen after each step."""


@pytest.fixture(scope="module", name="clips")
def clips_fixture():
    """Audio (n, 5), visual (n, 2, 3, 4), labels (n,)."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(CLASSES).repeat_interleave(CLIPS)
    audio = torch.randn(CLASSES, 5, generator=draw)[labels] + torch.randn(len(labels), 5, generator=draw)
    visual = torch.randn(CLASSES, 1, 1, 4, generator=draw)[labels]
    return audio, visual + torch.randn(len(labels), 2, 3, 4, generator=draw), labels


def trained(clips, name: str, *words: str):
    """The method and its model after two steps of two classes."""
    kind = load_method(name)
    method = kind(parse_options(kind, words, name=name), modality="audio-visual")
    model = None
    for rows in STEPS:
        method.add_classes(2)
        method.observe(*(part[torch.from_numpy(rows)] for part in clips))
        model = method.solve()
    return method, model


def features_of(method, clips) -> np.ndarray:
    return method.embedding(method.pooled(*clips[:2])).numpy()


def raw_scores(method, model, clips) -> np.ndarray:
    """Scores without the inverse temperature."""
    return (model.scores(*clips[:2]) / method.report()["inverse_temperature"]).numpy()


def calibrated(parts) -> np.ndarray:
    """The curve of steps' scores and labels."""
    calibration = Calibration()
    for scores, labels in parts:
        calibration.add(torch.as_tensor(scores), labels)
    return calibration.losses.numpy()


def inverse_temperature(scores: np.ndarray, labels: torch.Tensor) -> float:
    """That of scores of clips which the scores were not fitted to."""
    calibration = Calibration()
    calibration.add(torch.as_tensor(scores), labels)
    return calibration.inverse_temperature


def ridge(H: np.ndarray, Y: np.ndarray, penalty: float) -> np.ndarray:
    """Theta by least squares on clips and penalty rows together."""
    M = H.shape[1]
    stacked = np.vstack([H, np.sqrt(penalty) * np.eye(M)]), np.vstack([Y, np.zeros((M, Y.shape[1]))])
    return np.linalg.lstsq(*stacked, rcond=None)[0]


def without_each(H: np.ndarray, Y: np.ndarray, penalty: float, rows: np.ndarray) -> np.ndarray:
    """Scores of clip i by ridge regression without clip i, for i in `rows`."""
    every = np.arange(len(H))
    return np.stack([H[i] @ ridge(H[every != i], Y[every != i], penalty) for i in rows])


def mahalanobis(H: np.ndarray, y: np.ndarray, asked: np.ndarray, sigma) -> np.ndarray:
    """Minus half the squared distances of `asked` from the class means, without terms common to all classes."""
    means = np.stack([H[y == c].mean(axis=0) for c in range(y.max() + 1)])
    away = H - means[y]
    inverse = np.linalg.inv(sigma(away.T @ away))
    distance = np.stack([np.einsum("ij,jk,ik->i", asked - m, inverse, asked - m) for m in means], axis=1)
    return np.einsum("ij,jk,ik->i", asked, inverse, asked)[:, None] / 2 - distance / 2


def test_ranpac(clips):
    """Joint ridge regression, calibrated by the models without each clip."""
    method, model = trained(clips, "ranpac", "features=9", "ridge=2")
    H, Y = features_of(method, clips), np.eye(CLASSES)[clips[2].numpy()]
    np.testing.assert_allclose(raw_scores(method, model, clips), H @ ridge(H, Y, 2.0), atol=1e-9)
    left_out = without_each(H, Y, 2.0, np.arange(len(H)))
    assert method.report()["inverse_temperature"] == inverse_temperature(left_out, clips[2])


@pytest.mark.parametrize("kernel", ["linear", "fourier"])
def test_slda(clips, kernel):
    """Distances under the shrunk covariance, calibrated by clips that its discriminant has not seen."""
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
    np.testing.assert_allclose(raw_scores(method, model, clips), expected, atol=1e-8)
    held = held_out(method.sample.vectors, labels)
    asked = sample[held].numpy()
    rest = np.abs(H[:, None] - asked).max(axis=2).min(axis=1) > 1e-5  # the sample is kept in float32
    assert rest.sum() == len(H) - CLASSES
    scale = scaled_by(H[rest])
    got = mahalanobis(scale(H[rest]), y[rest], scale(asked), shrunk(rest.sum()))
    assert method.report()["inverse_temperature"] == inverse_temperature(got, labels[held])


def blade_features(clips) -> np.ndarray:
    """Sound, mean and standard deviation of the tokens."""
    tokens = clips[1].double().flatten(1, 2).numpy()
    return np.concatenate([clips[0].double().numpy(), tokens.mean(axis=1), tokens.std(axis=1)], axis=1)


def scaled(raw: np.ndarray) -> np.ndarray:
    """Centered, and divided by the geometric mean of each feature's deviation and its block's."""
    deviation = raw.std(axis=0)
    typical = [np.full(len(own), np.sqrt((own**2).mean())) for own in np.split(deviation, [5, 9])]
    return (raw - raw.mean(axis=0)) / np.sqrt(deviation * np.concatenate(typical))


def blade_scores(x, y, asked, penalty, psi, center) -> np.ndarray:
    """-N / 2 times the squared distance to each class's shrunk mean, less what all classes share; W has no correlations
    between the first 5 features (audio) and the others (visual)."""
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


def test_blade(clips):
    """Distances under W + Lambda to shrunk means; calibrated by the discriminants without each clip."""
    method, model = trained(clips, "blade")
    raw, y = blade_features(clips), clips[2].numpy()
    x = scaled(raw)
    penalty, psi = (
        np.repeat([method.fitted[f"{name}{number}"] for number in range(3)], [5, 4, 4])
        for name in ("penalty", "psi")
    )
    head = model.heads["audio-visual"]
    got = model.scores(*clips[:2]).numpy() / head.inverse_temperature
    np.testing.assert_allclose(got, blade_scores(x, y, x, penalty, psi, 0), atol=1e-6)
    left_out = []
    for i in range(len(x)):
        rest = np.arange(len(x)) != i
        left_out.append(blade_scores(x[rest], y[rest], x[[i]], penalty, psi, 0)[0])
    calibration = Calibration()
    calibration.add(torch.tensor(np.stack(left_out)) * len(x) / (len(x) - 1), clips[2])
    assert head.inverse_temperature == calibration.inverse_temperature


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


def test_rls_with_compensation(clips):
    """The main stream is joint ridge regression; a stream of each modality is fitted to what it leaves of new classes,
    leave-one-out; both weigh in the scores and in the calibration."""
    c, penalty = 0.5, 2.0
    method, model = trained(
        clips, "rls", "features=9", "stream_features=6", f"ridge={penalty}", f"compensation={c}"
    )
    parts = method.pooled(*clips[:2])
    H, *streams = (method.embedding.of_block(number, parts).numpy() for number in range(3))
    Y = np.eye(CLASSES)[clips[2].numpy()]
    left, curves = np.zeros_like(Y), []
    for step, (rows, seen) in enumerate(zip(STEPS, SEEN, strict=True)):
        known, old = 2 * (step + 1), 2 * step
        main = without_each(H[seen], Y[seen, :known], penalty, rows)
        left[rows, old:known] = (Y[rows, :known] - main)[:, old:]
        added = sum(without_each(h[seen], left[seen, :known], penalty, rows) for h in streams)
        curves.append((main + c * added, clips[2][rows]))
    expected = H @ ridge(H, Y, penalty) + c * sum(h @ ridge(h, left, penalty) for h in streams)
    np.testing.assert_allclose(raw_scores(method, model, clips), expected, atol=1e-8)
    np.testing.assert_allclose(method.head_states[0].calibration.losses, calibrated(curves), rtol=1e-7)


def test_vectors_of_a_clip(clips):
    """blade pools sound, mean and standard deviation of the tokens, centered and scaled by all clips learned."""
    method, _ = trained(clips, "blade")
    np.testing.assert_allclose(features_of(method, clips), scaled(blade_features(clips)), atol=1e-6)


def uncalibrated(method, model, clips) -> np.ndarray:
    """Scores before the inverse temperature."""
    return (model.scores(*clips[:2]) / method.report()["inverse_temperature"]).numpy()


def unit_features(clips) -> np.ndarray:
    """Sound and mean token, each of length sqrt(width)."""
    parts = clips[0].double().numpy(), clips[1].double().flatten(1, 2).mean(dim=1).numpy()
    scaled = [np.sqrt(x.shape[1]) * x / np.linalg.norm(x, axis=1, keepdims=True) for x in parts]
    return np.concatenate(scaled, axis=1)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_ncm(clips, metric):
    """Cosine to, or distance from, the mean of each class's features; calibrated by the means without each clip."""
    method, model = trained(clips, "ncm", f"metric={metric}", "normalize=length")
    h, y = unit_features(clips), clips[2].numpy()

    def scores(asked, known, labels):
        means = np.stack([known[labels == c].mean(axis=0) for c in range(CLASSES)])
        if metric == "cosine":
            return asked @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
        return -(np.linalg.norm(asked[:, None] - means, axis=2) ** 2) / 2

    got, expected = uncalibrated(method, model, clips), scores(h, h, y)
    if metric == "euclidean":  # up to what all classes share
        expected = expected + (h**2).sum(axis=1, keepdims=True) / 2
    np.testing.assert_allclose(got, expected, atol=1e-10)
    every = np.arange(len(h))
    left_out = np.stack([scores(h[[i]], h[every != i], y[every != i])[0] for i in every])
    calibration = Calibration()
    calibration.add(torch.as_tensor(left_out), clips[2])
    assert method.report()["inverse_temperature"] == calibration.inverse_temperature


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


def test_acil(clips):
    """The published recursion, one clip after the other, which never looks back."""
    method, model = trained(clips, "acil", "features=9", "ridge=0.5")
    H, y = features_of(method, clips), clips[2].numpy()
    R, theta = np.eye(9) / 0.5, np.zeros((9, 0))
    for rows in STEPS:
        theta = np.concatenate([theta, np.zeros((9, y[rows].max() + 1 - theta.shape[1]))], axis=1)
        for i in rows:
            h, target = H[[i]], np.eye(theta.shape[1])[[y[i]]]
            R = R - R @ h.T @ h @ R / (1 + h @ R @ h.T)
            theta = theta + R @ h.T @ (target - h @ theta)
    np.testing.assert_allclose(uncalibrated(method, model, clips), H @ theta, atol=1e-8)


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


def test_ds_al(clips):
    """Main stream: joint ridge regression. Compensation: ridge regression on what each step's main stream left of its
    new classes, old columns 0, with the tanh of the same projection."""
    method, model = trained(
        clips, "ds-al", "features=9", "penalty=2", "compensation_penalty=3", "compensation=0.7"
    )
    parts = method.pooled(*clips[:2])
    H, K = (method.embedding.of_block(number, parts).numpy() for number in range(2))
    main, other = (embedding.tensors()["weight"] for embedding, _ in method.embedding.blocks)
    assert torch.equal(main, other)
    y, left = clips[2].numpy(), np.zeros((len(H), CLASSES))
    for number, rows in enumerate(STEPS):
        seen = SEEN[number]
        Y = np.eye(CLASSES)[y]
        theta = ridge(H[seen], Y[seen], 2.0)
        left[rows] = (Y - H @ theta)[rows] * (np.arange(CLASSES) >= 2 * number)
        left[rows, 2 * (number + 1) :] = 0
    expected = H @ theta + 0.7 * K @ ridge(K, left, 3.0)
    np.testing.assert_allclose(uncalibrated(method, model, clips), expected, atol=1e-8)


def test_damaged_anacp(clips):
    """Tensors and settings that do not fit raise errors of avcil, also if the covariance is not positive definite."""
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
