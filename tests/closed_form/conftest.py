"""Clips with known features."""

from __future__ import annotations

import numpy as np
import pytest
import torch


def make_clips(
    seed: int, *, count: int = 40, width: int = 6, classes: int = 3
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (n, M) around class means, labels (n,), every class at least three times."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.repeat(np.arange(classes), 3), rng.integers(0, classes, count - 3 * classes)])
    features = 2 * rng.standard_normal((classes, width))[labels] + rng.standard_normal((count, width)) + 0.5
    return torch.from_numpy(features), torch.from_numpy(labels)


@pytest.fixture(name="make_clips", scope="session")
def make_clips_fixture():
    """The function `make_clips` as a fixture."""
    return make_clips
