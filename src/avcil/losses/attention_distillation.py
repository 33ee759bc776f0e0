"""Visual attention distillation (VAD): exemplars keep the attention of the previous step's model.

N exemplars, T time slices, S spatial tokens, D channels. Source: AV-CIL, section 3.4.
"""

from __future__ import annotations

from torch import Tensor


def attention_divergence(student_log: Tensor, teacher_log: Tensor) -> Tensor:
    """(1/N) sum of KL(A_old || A) over all attention maps of the clips, given as logarithms of equal shape.

    Spatial: log A_s (N, T, S, D), summed over T slices and D channels. Temporal: log A_t (N, T, D), summed over D
    channels. Scalar; zero for an unchanged model.

    >>> import torch
    >>> student, teacher = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    >>> round(float(attention_divergence(student, teacher)), 4)
    0.1308
    """
    return (teacher_log.exp() * (teacher_log - student_log)).sum() / len(student_log)
