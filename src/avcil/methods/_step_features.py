"""Features of the clips of a training step, computed by the network.

n clips, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avcil.methods.base import Step


def features_of(step: Step, rows: Tensor) -> Tensor:
    """h (n, D) of rows of the pool, computed by the current network."""
    with torch.no_grad():
        batches = step.pool.stream(rows.split(step.pool.eval_batch_size))
        return torch.cat([step.network(*features).feature for features in batches])
