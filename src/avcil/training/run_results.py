"""Values that are computed when all steps of a run are finished: metrics of the stream, description of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from avcil.methods.model import Model
from avcil.saved_models.card import METRICS
from avcil.saved_models.learning_settings import LearningSettings
from avcil.streams.base import StreamResults
from avcil.streams.registry import StreamSpec
from avcil.training.task_data import TaskData
from avcil.training.trainer import Trainer
from avcil.training.trainers import ClosedFormTrainer
from avcil.training.unlearning import distance_to_retrained


def stream_metrics(
    spec: StreamSpec, data: TaskData, trainer: Trainer, model: Model, R: np.ndarray, n: Sequence[int]
) -> dict[str, float]:
    """The metrics of the kind of stream.

    Args:
        spec: The stream.
        data: The run's clips, after the last task.
        trainer: The trainer of the run.
        model: The model after the last task.
        R: (K, K) accuracy matrix, as in `runs.metrics`.
        n: (K,) numbers of test clips.
    """
    train_clips = [len(data.rows("train", task)) for task in range(len(n))]
    metrics = spec.kind.metrics(
        StreamResults(stream=data.stream, R=R, n=np.array(n), train_clips=train_clips)
    )
    if spec.kind.removes_classes:
        assert isinstance(trainer, ClosedFormTrainer)
        metrics |= distance_to_retrained(trainer, data, model)
    return metrics


def model_description(
    settings: LearningSettings, spec: StreamSpec, data: TaskData, metrics: Mapping[str, Any], n: Sequence[int]
) -> dict[str, Any]:
    """Metadata of the saved model: the encoders and the sampling of its features, and facts for the model card."""
    manifest = data.store.manifest.to_dict()
    facts: dict[str, Any] = {"benchmark": data.benchmark.name, "test_clips": sum(n)}
    if not spec.is_default:
        facts["stream"] = spec.text
    return {
        "method": settings.method,
        "modality": settings.modality,
        **{name: manifest[name] for name in ("visual", "audio", "sampling", "dtype")},
        "data": facts,
        "metrics": {"classes": len(data.classes), **{name: metrics[name] for name in METRICS}},
    }
