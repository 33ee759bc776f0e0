"""Recognizers trained on a few steps of a small store, and the features of its clips."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from small_options import small_options

from avcil.features import FeatureStore
from avcil.inference import ClipFeatures, Recognizer
from avcil.training.config import TrainConfig
from avcil.training.run import train

STEPS = [["c1", "c0"], ["c2", "c5"], ["c3", "c4"]]


def trained(
    folder: Path, store: Path, method: str, steps: int, *, modality: str = "audio-visual", **more
) -> Recognizer:
    """A recognizer of the first `steps` steps."""
    out = folder / f"{method}-{modality}-{steps}"
    file = folder / f"steps{steps}.json"
    file.write_text(json.dumps(STEPS[:steps]))
    settings = {
        "epochs": 2,
        "selection": "last",
        "exemplars": 12,
        "batch_size": 8,
        "exemplar_batch_size": 4,
    } | more
    options = settings.pop("set", small_options(method, features=60))
    config = TrainConfig(
        features=store, out=out, method=method, modality=modality, steps=file, set=options, **settings
    )
    train(config, quiet=True)
    return Recognizer.load(out)


def clips_of(store: Path, labels: list[str], split: str = "train") -> tuple[list[ClipFeatures], list[str]]:
    """Features of a store's clips, and their classes, class by class in the order given."""
    opened = FeatureStore(store)
    rows = [
        row
        for label in labels
        for row, clip in enumerate(opened.clips)
        if (clip.label, clip.split) == (label, split)
    ]
    features = [
        ClipFeatures(
            audio=torch.from_numpy(opened.audio([row])).float(),
            visual=torch.from_numpy(opened.visual([row])).float(),
            clip_id=opened.clips[row].clip_id,
        )
        for row in rows
    ]
    return features, [opened.clips[row].label for row in rows]


def same(one: Recognizer, other: Recognizer) -> bool:
    """Whether two recognizers are equal bit for bit, including their learning state."""
    a, b = one.snapshot(), other.snapshot()
    pairs = [(a.model.tensors(), b.model.tensors()), (a.learning.tensors, b.learning.tensors)]
    equal = all(x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x) for x, y in pairs)
    return equal and a.labels == b.labels and a.learning.to_dict() == b.learning.to_dict()


def without(part: str, clips: list[ClipFeatures]) -> list[ClipFeatures]:
    """The clips without one modality."""
    return [replace(clip, **{part: None}) for clip in clips]
