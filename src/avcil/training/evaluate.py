"""Predictions and accuracy on a table of clips."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avcil.models.base import Model
from avcil.nn.network import Network
from avcil.nn.token_rows import gathered
from avcil.training.data import Table
from avcil.training.distributed import ProcessGroup

SINGLE_PROCESS = ProcessGroup()


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Predictions of a model, in the order of the table."""

    predicted: Tensor
    """(N,) class numbers"""
    probability: Tensor
    """(N,) softmax of the scores at the predicted class"""
    correct: Tensor
    """(N,) bool"""


def predict(model: Model, table: Table, process_group: ProcessGroup = SINGLE_PROCESS) -> Predictions:
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


def accuracy(model: Model, table: Table, process_group: ProcessGroup = SINGLE_PROCESS) -> float | None:
    """Fraction of the clips that are predicted correctly; None for an empty table."""
    return float(predict(model, table, process_group).correct.double().mean()) if len(table) else None
