"""Closed-form methods on few clips, and parts of their equations in NumPy, which uses all clips at once.  n
clips, H (n, M) features, Y (n, C) one-hot targets, y (n,) class numbers."""

from __future__ import annotations

import numpy as np
import torch

from avcil.closed_form.calibration import Calibration
from avcil.methods.registry import load_method, parse_options

CLASSES, CLIPS = 4, 7
STEPS = (np.arange(2 * CLIPS), np.arange(2 * CLIPS, 4 * CLIPS))


def few_clips() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
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


def uncalibrated(method, model, clips) -> np.ndarray:
    """Scores without the inverse temperature."""
    return (model.scores(*clips[:2]) / method.report()["inverse_temperature"]).numpy()


def unit_features(clips) -> np.ndarray:
    """Audio vector and mean token, each scaled to the length sqrt(width)."""
    parts = clips[0].double().numpy(), clips[1].double().flatten(1, 2).mean(dim=1).numpy()
    scaled = [np.sqrt(x.shape[1]) * x / np.linalg.norm(x, axis=1, keepdims=True) for x in parts]
    return np.concatenate(scaled, axis=1)


def inverse_temperature(scores: np.ndarray, labels: torch.Tensor) -> float:
    """Inverse temperature for scores of clips that were not used in fitting the scores."""
    calibration = Calibration()
    calibration.add(torch.as_tensor(scores), labels)
    return calibration.inverse_temperature


def ridge(H: np.ndarray, Y: np.ndarray, penalty: float) -> np.ndarray:
    """Theta by least squares with clips and penalty rows in one system."""
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
