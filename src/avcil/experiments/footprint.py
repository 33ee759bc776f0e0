"""What a finished run keeps from step to step, in bytes: exemplars, the teacher, statistics; all counted.

Exemplars count as the features of their clips in the store's numbers, which is what a next step reads again; so do
all training clips for a method that trains on all of them. The teacher is the network of the step before, kept
beside the one that learns. A classifier beside the head follows from exemplars, head and the method's own tensors,
and counts nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avcil.errors import InputError
from avcil.features import FeatureStore
from avcil.methods.base import GradientMethod
from avcil.methods.registry import load_method
from avcil.models.base import modality_parts
from avcil.nn.network import CLASSIFIERS
from avcil.training.trainers import METHOD_STATE
from avcil.utils.files import read_json
from avcil.utils.tensor_files import load_tensors


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
    config = read_json(run / "config.json")
    last = run / "checkpoints" / f"step_{len(config['benchmark']['steps']) - 1}"
    state = read_json(last / "state.json")
    method = load_method(config["method"])
    if not issubclass(method, GradientMethod):
        if "report" not in state or "bytes" not in state["report"]:
            raise InputError(f"{last / 'state.json'} does not say how many bytes the method keeps")
        return KeptBytes(statistics=int(state["report"]["bytes"]))
    clip = clip_bytes(store, config["modality"])
    trains_on_all = method.batching == "all"
    clips = _training_clips(store, config) if trains_on_all else sum(map(len, state["exemplars"].values()))
    teacher = statistics = 0
    for name, tensor in load_tensors(last / "model.safetensors").items():
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


def _training_clips(store: FeatureStore, config: Mapping[str, Any]) -> int:
    classes = {label for step in config["benchmark"]["steps"] for label in step}
    return sum(clip.split == "train" and clip.label in classes for clip in store.clips)
