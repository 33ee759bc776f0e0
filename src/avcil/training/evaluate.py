"""Asking a model about clips it is not trained on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avcil.models.base import Model
from avcil.nn.network import Network
from avcil.nn.token_rows import gathered
from avcil.training.data import Table
from avcil.training.distributed import ProcessGroup

ALONE = ProcessGroup()


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a model said of some clips, in the table's order."""

    predicted: Tensor
    """(N,) class numbers"""
    probability: Tensor
    """(N,) softmax of the scores at the predicted class"""
    correct: Tensor
    """(N,) bool"""


def ask(model: Model, table: Table, team: ProcessGroup = ALONE) -> Answers:
    """Predict every clip of a table: argmax over all classes seen, no step id given. A team's processes share them."""
    device = table.labels.device
    predicted = [torch.zeros(0, dtype=torch.int64, device=device)]
    probability = [torch.zeros(0, dtype=torch.float64, device=device)]
    with torch.inference_mode():
        for _, (audio, visual) in table.all(team.share(len(table))):
            if isinstance(model, Network):  # its attention gathers tokens block by block
                scores = model.scores(audio, visual)
            else:
                scores = model.scores(audio, gathered(visual))
            best = scores.double().softmax(dim=1).max(dim=1)
            predicted.append(best.indices)
            probability.append(best.values)
        labels = team.gather(torch.cat(predicted))
        chances = team.gather(torch.cat(probability))
    return Answers(predicted=labels.cpu(), probability=chances.cpu(), correct=(labels == table.labels).cpu())


def accuracy(model: Model, table: Table, team: ProcessGroup = ALONE) -> float | None:
    """Fraction of a table's clips that are predicted rightly; None where there is no clip."""
    return float(ask(model, table, team).correct.double().mean()) if len(table) else None
