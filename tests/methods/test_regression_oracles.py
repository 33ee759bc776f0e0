"""Methods of ridge regression compared with NumPy computations on all clips, with a refit for every clip left out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from closed_form_oracle import (
    CLASSES,
    STEPS,
    features_of,
    few_clips,
    inverse_temperature,
    ridge,
    trained,
    uncalibrated,
    without_each,
)

from avcil.closed_form.calibration import Calibration


@pytest.fixture(scope="module")
def clips():
    return few_clips()


def calibrated(parts) -> np.ndarray:
    """Calibration with the scores and labels of steps."""
    calibration = Calibration()
    for scores, labels in parts:
        calibration.add(torch.as_tensor(scores), labels)
    return calibration.losses.numpy()


def test_ranpac(clips):
    """Joint ridge regression, calibrated by leave-one-out models."""
    method, model = trained(clips, "ranpac", "features=9", "ridge=2")
    H, Y = features_of(method, clips), np.eye(CLASSES)[clips[2].numpy()]
    np.testing.assert_allclose(uncalibrated(method, model, clips), H @ ridge(H, Y, 2.0), atol=1e-9)
    left_out = without_each(H, Y, 2.0, np.arange(len(H)))
    assert method.report()["inverse_temperature"] == inverse_temperature(left_out, clips[2])


def test_acil(clips):
    """The published recursion, one clip after the other, without access to earlier clips."""
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


def test_rls_with_compensation(clips):
    """The main stream is joint ridge regression; the stream of each modality is fitted to its leave-one-out
    residuals of new classes; both are used in the scores and in the calibration."""
    c, penalty = 0.5, 2.0
    method, model = trained(
        clips, "rls", "features=9", "stream_features=6", f"ridge={penalty}", f"compensation={c}"
    )
    parts = method.pooled(*clips[:2])
    H, *streams = (method.embedding.of_block(number, parts).numpy() for number in range(3))
    Y = np.eye(CLASSES)[clips[2].numpy()]
    left, curves = np.zeros_like(Y), []
    for step, rows in enumerate(STEPS):
        seen, known, old = np.arange(rows[-1] + 1), 2 * (step + 1), 2 * step
        main = without_each(H[seen], Y[seen, :known], penalty, rows)
        left[rows, old:known] = (Y[rows, :known] - main)[:, old:]
        added = sum(without_each(h[seen], left[seen, :known], penalty, rows) for h in streams)
        curves.append((main + c * added, clips[2][rows]))
    expected = H @ ridge(H, Y, penalty) + c * sum(h @ ridge(h, left, penalty) for h in streams)
    np.testing.assert_allclose(uncalibrated(method, model, clips), expected, atol=1e-8)
    np.testing.assert_allclose(method.head_states[0].calibration.losses, calibrated(curves), rtol=1e-7)


def test_ds_al(clips):
    """Main stream: joint ridge regression. Compensation: ridge regression on the residuals of new classes in
    each step, with 0 for old classes and the tanh of the same projection."""
    method, model = trained(
        clips, "ds-al", "features=9", "penalty=2", "compensation_penalty=3", "compensation=0.7"
    )
    parts = method.pooled(*clips[:2])
    H, K = (method.embedding.of_block(number, parts).numpy() for number in range(2))
    main, other = (embedding.tensors()["weight"] for embedding, _ in method.embedding.blocks)
    assert torch.equal(main, other)
    y, left = clips[2].numpy(), np.zeros((len(H), CLASSES))
    for number, rows in enumerate(STEPS):
        seen = np.arange(rows[-1] + 1)
        Y = np.eye(CLASSES)[y]
        theta = ridge(H[seen], Y[seen], 2.0)
        left[rows] = (Y - H @ theta)[rows] * (np.arange(CLASSES) >= 2 * number)
        left[rows, 2 * (number + 1) :] = 0
    expected = H @ theta + 0.7 * K @ ridge(K, left, 3.0)
    np.testing.assert_allclose(uncalibrated(method, model, clips), expected, atol=1e-8)
