"""Closed-form methods with small options, and clips for them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avcil.encoders.constants import Constants
from avcil.methods.base import ClosedFormMethod
from avcil.methods.model import Model
from avcil.methods.registry import load_method, parse_options

SAMPLE = "calibration_clips=20"
SMALL = {"ranpac": ["features=30", SAMPLE], "slda": ["features=30", SAMPLE], "blade": [SAMPLE]}
CASES = [
    *((name, tuple(options)) for name, options in SMALL.items()),
    ("slda", ("kernel=linear", SAMPLE)),
    ("blade", ("calibration_clips=0", "pooling=mean")),
    ("rls", ("features=30", "compensation=0")),
    ("ncm", ("calibration_clips=20",)),
    ("ncm", ("metric=euclidean", "calibration_clips=20")),
    ("fecam", ("calibration_clips=20",)),
    ("acil", ("features=30", SAMPLE)),
    ("randumb", ("features=30", SAMPLE)),
    ("anacp", ("features=20", "drawn_clips=30", SAMPLE)),
]
ALL_CASES = [
    *CASES,
    ("ds-al", ("features=30",)),
    ("rls", ("features=30", "stream_features=8", "compensation=0.5")),
]
each_case = pytest.mark.parametrize(("name", "options"), CASES, ids=[" ".join((n, *w)) for n, w in CASES])
each_of_all_cases = pytest.mark.parametrize(
    ("name", "options"), ALL_CASES, ids=[" ".join((n, *w)) for n, w in ALL_CASES]
)
CLASSES, CLIPS = 4, 12
TWO_STEPS = [list(range(2 * CLIPS)), list(range(2 * CLIPS, 4 * CLIPS))]


def new(
    name: str, options: tuple[str, ...], modality: str = "audio-visual", seed: int = 0
) -> ClosedFormMethod:
    kind = load_method(name)
    method = kind(parse_options(kind, options, name=name), modality=modality)
    method.seed = seed
    return method


def make_clips(seed: int = 0, clips: int = CLIPS):
    """Audio (n, 5), visual (n, 2, 3, 4), labels (n,)."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(CLASSES).repeat_interleave(clips)
    audio = torch.randn(CLASSES, 5, generator=draw)[labels] + torch.randn(len(labels), 5, generator=draw)
    visual = torch.randn(CLASSES, 1, 1, 4, generator=draw)[labels]
    return audio, visual + torch.randn(len(labels), 2, 3, 4, generator=draw), labels


def learn(method: ClosedFormMethod, clips, steps, size: int = 1000) -> Model:
    """Steps are lists of rows; classes are added when they occur; batches have `size` clips."""
    audio, visual, labels = clips
    known, model = 0, None
    for rows in steps:
        rows = torch.as_tensor(rows)
        fresh = max(0, int(labels[rows].max()) + 1 - known)
        method.add_classes(fresh)
        known += fresh
        for part in rows.split(size):
            method.observe(audio[part], visual[part], labels[part])
        model = method.solve()
    assert model is not None
    return model


each_modality = pytest.mark.parametrize("modality", ["audio-visual", "audio", "visual"])
CONSTANTS = {
    "audio": Constants(center=np.full(5, 0.2, np.float32), scale=np.float32([1, 2, 1, 1, 1.5])),
    "visual": Constants(center=np.zeros(4, np.float32), scale=np.float32([1, 1, 2, 1])),
}
