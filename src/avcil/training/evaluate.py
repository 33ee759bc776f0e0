"""Predictions and accuracy on a table of clips, and on the test clips of tasks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avcil.methods.model import Model
from avcil.nn.network import Network
from avcil.nn.token_rows import gathered
from avcil.training.data import Table
from avcil.training.distributed import ProcessGroup
from avcil.training.task_data import TaskData

_SINGLE_PROCESS = ProcessGroup()


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Predictions of a model, in the order of the table."""

    predicted: Tensor
    """(N,) class numbers"""
    probability: Tensor
    """(N,) softmax of the scores at the predicted class"""
    correct: Tensor
    """(N,) bool"""


def predict(model: Model, table: Table, process_group: ProcessGroup = _SINGLE_PROCESS) -> Predictions:
    """Predict all clips of a table: argmax over all classes seen, without the task id.

    The clips are divided among the processes of the group; each process gets all predictions.
    """
    device = table.labels.device
    predicted = [torch.zeros(0, dtype=torch.int64, device=device)]
    probability = [torch.zeros(0, dtype=torch.float64, device=device)]
    with torch.inference_mode():
        for _, (audio, visual) in table.all(process_group.shard(len(table))):
            if isinstance(model, Network):  # its attention reads tokens in blocks
                scores = model.scores(audio, visual)
            else:
                scores = model.scores(audio, gathered(visual))
            best = scores.double().softmax(dim=1).max(dim=1)
            predicted.append(best.indices)
            probability.append(best.values)
        labels = process_group.all_gather(torch.cat(predicted))
        all_probabilities = process_group.all_gather(torch.cat(probability))
    return Predictions(
        predicted=labels.cpu(), probability=all_probabilities.cpu(), correct=(labels == table.labels).cpu()
    )


@dataclass(frozen=True, kw_only=True)
class TaskEvaluation:
    """Predictions of the test clips of all tasks up to a step."""

    accuracies: list[float | None]
    """By task; None for a task without test clips."""
    sizes: list[int]
    """Number of test clips by task."""
    predictions: list[tuple[str, str, str, float]]
    """Clip id, label, predicted label and its probability for each clip."""


def evaluate_tasks(model: Model, data: TaskData, step: int, process_group: ProcessGroup) -> TaskEvaluation:
    """Predict the test clips of all tasks up to `step`, each from the modalities that it has."""
    accuracies: list[float | None] = []
    sizes: list[int] = []
    lines: list[tuple[str, str, str, float]] = []
    for task in range(step + 1):
        correct = [torch.zeros(0, dtype=torch.bool)]
        for modality, rows in data.test_rows(task, model.input_modalities).items():
            predictions = predict(model, data.table(rows, once=True, modality=modality), process_group)
            correct.append(predictions.correct)
            clips = [data.store.clips[row] for row in rows]
            numbers, probabilities = predictions.predicted.tolist(), predictions.probability.tolist()
            lines += [
                (clip.clip_id, clip.label, data.classes[number], probability)
                for clip, number, probability in zip(clips, numbers, probabilities, strict=True)
            ]
        all_correct = torch.cat(correct)
        accuracies.append(float(all_correct.double().mean()) if len(all_correct) else None)
        sizes.append(len(all_correct))
    return TaskEvaluation(accuracies=accuracies, sizes=sizes, predictions=lines)


def accuracy(model: Model, table: Table, process_group: ProcessGroup = _SINGLE_PROCESS) -> float | None:
    """Fraction of the clips that are predicted correctly; None for an empty table."""
    return float(predict(model, table, process_group).correct.double().mean()) if len(table) else None
