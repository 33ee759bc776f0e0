"""What a finished run keeps from step to step, in bytes: exemplars, the teacher, statistics; all counted.

Exemplars count as the features of their clips in the store's numbers, which is what a next step reads again; so do
all training clips for a method that trains on all of them. The teacher is the network of the step before, kept
beside the one that learns. A classifier beside the head follows from exemplars, head and the method's own tensors,
and counts nothing.
"""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avcil.errors import InputError
from avcil.features import FeatureStore
from avcil.methods.base import GradientMethod
from avcil.methods.registry import load_method
from avcil.models.base import modality_parts
from avcil.nn.network import CLASSIFIERS
from avcil.runs.run_config import read_config
from avcil.runs.run_directory import RunDirectory
from avcil.training.trainers import METHOD_STATE


@dataclass(frozen=True, kw_only=True)
class KeptBytes:
    """Bytes after the last step."""

    exemplars: int = 0
    teacher: int = 0
    statistics: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.exemplars + self.teacher + self.statistics


def kept_bytes(run: Path, store: FeatureStore) -> KeptBytes:
    """What the finished run in `run`, trained on `store`, keeps.

    :raises InputError: if the run's last checkpoint is not there.
    """
    config, directory = read_config(run), RunDirectory(run)
    last = len(config.benchmark.steps) - 1
    states = directory.steps_done()
    if len(states) <= last:
        raise InputError(f"{directory.paths.step(last)} is missing: what the method keeps cannot be counted")
    state = states[last]
    method = load_method(config.settings.method)
    if not issubclass(method, GradientMethod):
        if "bytes" not in state.summary.report:
            raise InputError(
                f"{directory.paths.step_state(last)} does not say how many bytes the method keeps"
            )
        return KeptBytes(statistics=int(state.summary.report["bytes"]))
    clip = clip_bytes(store, config.settings.modality)
    trains_on_all = method.batching == "all"
    classes = set(config.benchmark.classes)
    clips = _training_clips(store, classes) if trains_on_all else sum(map(len, state.exemplars.values()))
    teacher = statistics = 0
    for name, tensor in directory.step_tensors(last).items():
        size = tensor.numel() * tensor.element_size()
        if name.startswith(METHOD_STATE):
            statistics += size
        elif method.uses_teacher and name not in CLASSIFIERS:
            teacher += size
    return KeptBytes(exemplars=clips * clip, teacher=teacher, statistics=statistics)


def clip_bytes(store: FeatureStore, modality: str) -> int:
    """Bytes of one clip's features, of what the modality looks at."""
    has_audio, has_visual = modality_parts(modality)
    wanted = {"audio": has_audio, "visual": has_visual}
    item = np.dtype(store.manifest.dtype).itemsize
    return sum(item * math.prod(shape) for name, shape in store.manifest.arrays().items() if wanted.get(name))


def _training_clips(store: FeatureStore, classes: Set[str]) -> int:
    return sum(clip.split == "train" and clip.label in classes for clip in store.clips)
