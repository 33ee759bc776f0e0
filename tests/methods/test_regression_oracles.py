"""Methods of ridge regression against NumPy that sees all clips, and refits for every clip left out."""

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
    """The curve of steps' scores and labels."""
    calibration = Calibration()
    for scores, labels in parts:
        calibration.add(torch.as_tensor(scores), labels)
    return calibration.losses.numpy()


def test_ranpac(clips):
    """Joint ridge regression, calibrated by the models without each clip."""
    method, model = trained(clips, "ranpac", "features=9", "ridge=2")
    H, Y = features_of(method, clips), np.eye(CLASSES)[clips[2].numpy()]
    np.testing.assert_allclose(uncalibrated(method, model, clips), H @ ridge(H, Y, 2.0), atol=1e-9)
    left_out = without_each(H, Y, 2.0, np.arange(len(H)))
    assert method.report()["inverse_temperature"] == inverse_temperature(left_out, clips[2])


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
        seen = np.arange(rows[-1] + 1)
        Y = np.eye(CLASSES)[y]
        theta = ridge(H[seen], Y[seen], 2.0)
        left[rows] = (Y - H @ theta)[rows] * (np.arange(CLASSES) >= 2 * number)
        left[rows, 2 * (number + 1) :] = 0
    expected = H @ theta + 0.7 * K @ ridge(K, left, 3.0)
    np.testing.assert_allclose(uncalibrated(method, model, clips), expected, atol=1e-8)
