"""Accuracy of BLADE and of scikit-learn's classifiers with few classes and few training clips.

    python benchmarks/few_classes.py STORE [STORE ...] [--classes 2 3 5] [--clips 1 2 3 5 8] [--draws 20] [--split test]

Each draw selects classes of the store at random, and training clips of each class; the clips of these classes in the
split are predicted. The table has means over draws in percent. Classifiers of scikit-learn use the same pooled feature
vectors, standardized with the training clips, in coordinates of the span of the training clips. LDA is
`LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")`.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from few_clips import Store
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.svm import SVC

from avcil.methods.base import ClosedFormMethod

BLADE = ("BLADE", "BLADE, audio", "BLADE, visual")


def other_classifiers(gamma: float) -> dict[str, object]:
    """Classifiers of scikit-learn by name; gamma of the RBF kernel."""
    return {
        "nearest mean": NearestCentroid(),
        "1-NN": KNeighborsClassifier(1),
        "linear SVM": SVC(kernel="linear", C=0.01),
        "RBF SVM": SVC(C=10, gamma=gamma),
        "logistic": LogisticRegression(C=0.05, max_iter=300),
    }


def draw(store: Store, classes: int, clips: int, seed: int, split: str) -> tuple[np.ndarray, ...]:
    """Rows of training clips and of clips to predict, and their labels from 0 to `classes` - 1."""
    rng, labels = np.random.default_rng([seed, classes]), store.labels.numpy()
    chosen = rng.permutation(store.classes)[:classes]
    number = np.full(store.classes, -1)
    number[chosen] = np.arange(classes)
    own = [np.flatnonzero((store.splits == "train") & (labels == c)) for c in chosen]
    train = np.concatenate([rng.permutation(rows)[:clips] for rows in own])
    asked = np.flatnonzero((store.splits == split) & (number[labels] >= 0))
    return train, asked, number[labels[train]], number[labels[asked]]


def blade_predictions(store: Store, train: np.ndarray, y: np.ndarray, asked: np.ndarray) -> list[np.ndarray]:
    """Predictions from both modalities, from audio and from frames."""
    method: ClosedFormMethod = store.blade("audio-visual")
    method.add_classes(int(y.max()) + 1)
    method.observe(store.audio[train], store.visual[train], torch.from_numpy(y))
    method.flush()
    model, audio, visual = method.solve(), store.audio[asked], store.visual[asked]
    given = ((audio, visual), (audio, None), (None, visual))
    return [model.scores(*features).argmax(dim=1).numpy() for features in given]


def shrinkage(z: np.ndarray) -> float:
    """`sklearn.covariance.ledoit_wolf_shrinkage` of centered z (n, p), without p x p matrices."""
    n, p = z.shape
    squares = z**2
    trace = squares.sum() / n
    distance = (((z @ z.T) ** 2).sum() / n**2 - trace**2 / p) / p
    error = ((squares.sum(axis=1) ** 2).sum() / n - ((z @ z.T) ** 2).sum() / n**2) / (p * n)
    return min(error, distance) / distance if error > 0 else 0.0


def lda_predictions(x: np.ndarray, y: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Of LDA with automatic shrinkage. The covariance is a diagonal matrix plus one of rank n - C at most."""
    means, rows, diagonal = [], [], np.zeros(x.shape[1])
    for c in range(y.max() + 1):
        own = x[y == c]
        mean, deviation = own.mean(axis=0), own.std(axis=0)
        deviation[deviation == 0] = 1
        z, weight = (own - mean) / deviation, len(own) / len(x)
        amount = shrinkage(z)
        diagonal += weight * amount * (z**2).mean() * deviation**2
        rows.append(np.sqrt(weight * (1 - amount) / len(own)) * (own - mean))
        means.append(mean)
    low_rank, centers = np.concatenate(rows), np.array(means)
    diagonal = np.maximum(diagonal, 1e-6 * diagonal.max())  # of constant features
    scaled = low_rank / diagonal
    inner = np.eye(len(low_rank)) + scaled @ low_rank.T
    weights = centers / diagonal - np.linalg.solve(inner, scaled @ centers.T).T @ scaled
    priors = np.bincount(y) / len(y)
    return (asked @ weights.T - (centers * weights).sum(axis=1) / 2 + np.log(priors)).argmax(axis=1)


def measure(store: Store, classes: int, clips: int, seed: int, split: str) -> dict[str, float]:
    """Accuracy in percent by name."""
    train, asked, y, labels = draw(store, classes, clips, seed, split)
    with torch.inference_mode():
        predicted = dict(zip(BLADE, blade_predictions(store, train, y, asked), strict=True))
    x = store.pooled[train].astype(np.float64)
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    deviation[deviation == 0] = 1
    x, others = (x - mean) / deviation, (store.pooled[asked] - mean) / deviation
    basis, _ = np.linalg.qr(x.T)
    z, others_z = coordinates(x, basis), coordinates(others, basis)
    for name, classifier in other_classifiers(gamma=1 / (x.shape[1] * x.var())).items():
        with warnings.catch_warnings():  # of the nearest mean about features that are constant within classes
            warnings.simplefilter("ignore", UserWarning)
            predicted[name] = classifier.fit(z, y).predict(others_z)
    if clips > 2:  # with two, the shrinkage of each class is 0, and the covariance is singular
        predicted["LDA"] = lda_predictions(x, y, others)
    return {name: 100 * float((own == labels).mean()) for name, own in predicted.items()}


def coordinates(x: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Coordinates in the span of the training clips, and the distance from it: all distances from training clips."""
    inside = x @ basis
    outside = np.maximum((x**2).sum(axis=1) - (inside**2).sum(axis=1), 0)
    return np.c_[inside, np.sqrt(outside)]


def main() -> None:
    """Print a row for each store, number of classes and number of clips."""
    parser = argparse.ArgumentParser()
    parser.add_argument("stores", nargs="+", type=Path)
    parser.add_argument("--classes", nargs="+", type=int, default=[2, 3, 5])
    parser.add_argument("--clips", nargs="+", type=int, default=[1, 2, 3, 5, 8])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--split", choices=["val", "test"], default="val")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    for path in arguments.stores:
        store = Store(path)
        for classes in arguments.classes:
            for clips in arguments.clips:
                table = defaultdict(list)
                for seed in range(arguments.draws):
                    for name, value in measure(store, classes, clips, seed, arguments.split).items():
                        table[name].append(value)
                row = {name: round(float(np.mean(values)), 2) for name, values in table.items()}
                print(path, classes, clips, row, flush=True)
                results.append({"store": str(path), "classes": classes, "clips": clips} | row)
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
