"""Knowledge distillation from the previous step's model, with one softmax for the classes of each earlier step.

N clips, C classes. Source: LwF (ECCV 2016) in the task-wise form of SS-IL and AV-CIL.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import prod

from torch import Tensor
from torch.nn import functional as F


def taskwise_distillation(
    logits: Tensor, teacher_logits: Tensor, *, task_sizes: Sequence[int], temperature: float = 2.0
) -> Tensor:
    """Sum over earlier steps t of T^2 / N * sum_i KL(softmax(z_old^(t) / T) || softmax(z^(t) / T)).

    Zero for an unchanged model.

    Args:
        logits: (N, C), C >= sum(task_sizes).
        teacher_logits: (N, sum(task_sizes))
        task_sizes: Number of classes of each earlier step.
        temperature: T.

    Returns:
        Scalar.

    >>> import torch
    >>> z = torch.tensor([[1.0, 0.0, 2.0]])
    >>> float(taskwise_distillation(z, z[:, :2], task_sizes=[2]))
    0.0
    """
    total = logits.new_zeros(())
    start = 0
    for size, alike in groupby(task_sizes):  # consecutive steps of equal size together, which is faster
        shape = (sum(1 for _ in alike), size)
        columns = slice(start, start + prod(shape))
        student, teacher = (
            F.log_softmax(z[:, columns].unflatten(1, shape) / temperature, dim=2)
            for z in (logits, teacher_logits)
        )
        total = total + F.kl_div(student, teacher, reduction="batchmean", log_target=True)
        start = columns.stop
    return temperature**2 * total


def soft_cross_entropy(logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> Tensor:
    """(1/N) sum_i -sum_c q_ic log p_ic, q = softmax(z_old / T), p = softmax(z / T).

    logits and teacher_logits (N, K_old); scalar. Source: BiC (CVPR 2019) and WA (CVPR 2020), without a factor T^2.

    >>> import torch
    >>> round(float(soft_cross_entropy(torch.zeros(1, 2), torch.zeros(1, 2), temperature=2.0)), 4)  # log 2
    0.6931
    """
    student, teacher = logits / temperature, teacher_logits / temperature
    return F.cross_entropy(student, teacher.softmax(dim=1))
