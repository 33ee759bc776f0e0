"""Asking a model about clips it is not trained on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avcil.models.base import Model
from avcil.training.data import Table

BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a model said of some clips, in the table's order."""

    predicted: Tensor
    """(N,) class numbers"""
    probability: Tensor
    """(N,) softmax of the scores at the predicted class"""
    correct: Tensor
    """(N,) bool"""


def ask(model: Model, table: Table) -> Answers:
    """Predict every clip of a table: argmax over all classes seen, no step id given."""
    predicted, probability = [], []
    with torch.inference_mode():
        for rows in table.batches(BATCH):
            best = model.scores(*table.take(rows)).double().softmax(dim=1).max(dim=1)
            predicted.append(best.indices)
            probability.append(best.values)
    labels = torch.cat(predicted) if predicted else torch.zeros(0, dtype=torch.int64)
    return Answers(
        predicted=labels,
        probability=torch.cat(probability) if probability else torch.zeros(0, dtype=torch.float64),
        correct=labels == table.labels,
    )


def accuracy(model: Model, table: Table) -> float | None:
    """Fraction of a table's clips that are predicted rightly; None where there is no clip."""
    return float(ask(model, table).correct.double().mean()) if len(table) else None
