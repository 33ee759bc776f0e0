"""Split files in the form of AV-CIL's release, with synthetic clips."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from avcil.data.clips import SPLITS
from avcil.datasets.protocols import CLASS_CLIPS, CLASS_IDS, CLIP_CLASSES, PROTOCOLS, Protocol
from avcil.datasets.split_files import SplitClip
from avcil.utils.download import file_sha256


def write_release(folder: Path, name: str, clips: Mapping[str, SplitClip]) -> Protocol:
    """Write the three split files of a benchmark below `folder`, as in the release; returns the protocol for them."""
    plan = PROTOCOLS[name]
    classes = list(dict.fromkeys(clip.label for clip in clips.values()))
    numbers = {label: number for number, label in enumerate(classes)}
    contents = {
        CLASS_CLIPS: {
            split: {
                number: [i for i, clip in clips.items() if clip == SplitClip(label, split)]
                for label, number in numbers.items()
            }
            for split in SPLITS
        },
        CLIP_CLASSES: {
            split: {i: clip.label for i, clip in clips.items() if clip.split == split} for split in SPLITS
        },
        CLASS_IDS: numbers,
    }
    target = folder / "data" / plan.folder
    target.mkdir(parents=True)
    for file, value in contents.items():
        np.save(target / file, value, allow_pickle=True)
    return dataclasses.replace(
        plan,
        classes=len(classes),
        clips={split: Counter(clip.split for clip in clips.values())[split] for split in SPLITS},
        sha256={file: file_sha256(target / file) for file in contents},
    )
