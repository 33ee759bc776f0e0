"""Evaluation of class removal: the distance to a model that was trained without the removed classes.

N test clips, K remaining classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avcil.methods.model import Model
from avcil.nn.token_rows import gathered
from avcil.training.task_data import TaskData
from avcil.training.trainers import ClosedFormTrainer


def distance_to_retrained(trainer: ClosedFormTrainer, data: TaskData, model: Model) -> dict[str, float]:
    """Compare a model after the removal with one that is trained without the removed classes.

    Args:
        trainer: The trainer of the run.
        data: The run's clips, after the last task.
        model: The model after the last task.

    Returns:
        "score_distance", the largest absolute difference of a score on the test clips of the remaining classes,
        relative to the largest absolute score; and "prediction_agreement", the fraction of equal predictions.
    """
    tasks = range(len(data.benchmark.steps))
    rows = [row for task in tasks for row in data.rows("test", task)]
    reference = _retrained(trainer, data)
    scores, expected = _scores(model, data, rows), _scores(reference, data, rows)
    return {
        "score_distance": float((scores - expected).abs().max() / expected.abs().max()),
        "prediction_agreement": float((scores.argmax(1) == expected.argmax(1)).double().mean()),
    }


def _retrained(trainer: ClosedFormTrainer, data: TaskData) -> Model:
    """The model of a new method, trained on the same tasks without the removed classes."""
    method = type(trainer.method)(trainer.method.options, modality=trainer.method.modality)
    new_trainer = ClosedFormTrainer(method, data, trainer.settings)
    clips, remaining = data.store.clips, data.class_number
    model: Model | None = None
    for task, labels in enumerate(data.benchmark.steps):
        rows = [row for row in data.rows("train", task) if clips[row].label in remaining]
        if rows:
            model = new_trainer.fit(sum(label in remaining for label in labels), rows)
    assert model is not None
    return model


def _scores(model: Model, data: TaskData, rows: list[int]) -> Tensor:
    """(N, K)"""
    table = data.table(rows, once=True)
    with torch.inference_mode():
        parts = [model.scores(audio, gathered(visual)) for _, (audio, visual) in table.all()]
    return torch.cat(parts).double()
