"""Knowledge distillation from the last step's model, one softmax for each earlier step's classes.

N clips, C classes. Source: LwF (ECCV 2016) in the task-wise form of SS-IL and AV-CIL.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def taskwise_distillation(
    logits: Tensor, teacher_logits: Tensor, *, task_sizes: Sequence[int], temperature: float = 2.0
) -> Tensor:
    """Sum over earlier steps t of T^2 / N * sum_i KL(softmax(z_old^(t) / T) || softmax(z^(t) / T)).

    logits (N, C) with C >= sum(task_sizes), teacher_logits (N, sum(task_sizes)); `task_sizes` are the class
    counts of the earlier steps, in order. Scalar; zero for an unchanged model.

    >>> import torch
    >>> z = torch.tensor([[1.0, 0.0, 2.0]])
    >>> float(taskwise_distillation(z, z[:, :2], task_sizes=[2]))
    0.0
    """
    total = logits.new_zeros(())
    start = 0
    for size in task_sizes:
        columns = slice(start, start + size)
        student = F.log_softmax(logits[:, columns] / temperature, dim=1)
        teacher = F.log_softmax(teacher_logits[:, columns] / temperature, dim=1)
        total = total + F.kl_div(student, teacher, reduction="batchmean", log_target=True)
        start += size
    return temperature**2 * total
