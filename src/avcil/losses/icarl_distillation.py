"""iCaRL's distillation: each old class is a yes-or-no question, answered as the last step's model did.

N clips, K_old classes of the steps before. Source: iCaRL (CVPR 2017), algorithm 3, beside a softmax
cross-entropy for all classes, as the comparison of AV-CIL has it.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

DistillationForm = Literal["original", "release"]


def icarl_distillation(logits: Tensor, teacher_logits: Tensor, *, form: DistillationForm) -> Tensor:
    """Mean over clips and old classes of BCE(sigmoid(z), sigmoid(z_old)).

    logits (N, K_old), teacher_logits (N, K_old); scalar. form "release" puts sigmoid(z) where the
    logit belongs: its answer lies between 0.5 and 0.73 whatever the teacher said, and an unchanged model is
    pushed on.

    >>> import torch
    >>> zero = torch.zeros(2, 3)
    >>> round(float(icarl_distillation(zero, zero, form="original")), 4)
    0.6931
    >>> round(float(icarl_distillation(zero, zero, form="release")), 4)
    0.7241
    """
    student = logits.sigmoid() if form == "release" else logits
    return F.binary_cross_entropy_with_logits(student, teacher_logits.sigmoid())
