"""Memory footprint of a finished run: bytes stored between steps for exemplars, the teacher and statistics.

Exemplars are counted as the features of their clips in the dtype of the store, because the next step reads them again.
The same holds for all training clips if a method trains on all of them. The teacher is the network of the previous
step. Classifiers that are computed from exemplars, head and method state are not counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avcil.data.modality import Modality
from avcil.errors import InputError
from avcil.features import FeatureStore
from avcil.methods.base import GradientMethod
from avcil.methods.registry import load_method
from avcil.nn.network import CLASSIFIERS
from avcil.runs.run_config import read_config
from avcil.runs.run_directory import RunDirectory
from avcil.training.gradient_trainer import METHOD_STATE


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes stored after the last step."""

    exemplars: int = 0
    teacher: int = 0
    statistics: int = 0

    @property
    def total(self) -> int:
        return self.exemplars + self.teacher + self.statistics


def footprint(run: Path, store: FeatureStore) -> Footprint:
    """The memory footprint of a finished run.

    Args:
        run: The run directory.
        store: The feature store that it was trained on.

    Raises:
        InputError: The last checkpoint of the run is missing.
    """
    config, directory = read_config(run), RunDirectory(run)
    last = len(config.benchmark.steps) - 1
    states = directory.steps_done()
    if len(states) <= last:
        raise InputError(f"{directory.paths.step(last)} is missing, so the stored bytes cannot be counted")
    state = states[last]
    method = load_method(config.settings.method)
    if not issubclass(method, GradientMethod):
        if "bytes" not in state.summary.report:
            raise InputError(
                f"{directory.paths.step_state(last)} lacks the number of bytes of the statistics"
            )
        return Footprint(statistics=int(state.summary.report["bytes"]))
    clips = sum(map(len, state.exemplars.values()))
    if method.batching == "all":
        classes = set(config.benchmark.classes)
        clips = sum(clip.split == "train" and clip.label in classes for clip in store.clips)
    teacher = statistics = 0
    for name, tensor in directory.step_tensors(last).items():
        size = tensor.numel() * tensor.element_size()
        if name.startswith(f"{METHOD_STATE}."):
            statistics += size
        elif method.uses_teacher and name not in CLASSIFIERS.values():
            teacher += size
    clip = clip_bytes(store, config.settings.modality)
    return Footprint(exemplars=clips * clip, teacher=teacher, statistics=statistics)


def clip_bytes(store: FeatureStore, modality: Modality) -> int:
    """Bytes of the features of one clip that the modality uses."""
    item = np.dtype(store.manifest.dtype).itemsize
    return sum(
        item * math.prod(shape) for name, shape in store.manifest.arrays().items() if name in modality.parts
    )
