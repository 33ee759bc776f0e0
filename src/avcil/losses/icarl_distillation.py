"""iCaRL's distillation: binary cross-entropy of each old class with the previous step's model.

N clips, K_old classes of earlier steps. Source: iCaRL (CVPR 2017), algorithm 3; used together with a softmax
cross-entropy over all classes, as in AV-CIL's comparison.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

DistillationForm = Literal["original", "release"]


def icarl_distillation(logits: Tensor, teacher_logits: Tensor, *, form: DistillationForm) -> Tensor:
    """Mean over clips and old classes of BCE(sigmoid(z), sigmoid(z_old)).

    logits and teacher_logits (N, K_old); scalar. The form "release" uses sigmoid(z) in place of the logit z, so that
    the probability is between 0.5 and 0.73 for any teacher, and the gradient is not zero for an unchanged model.

    >>> import torch
    >>> zero = torch.zeros(2, 3)
    >>> round(float(icarl_distillation(zero, zero, form="original")), 4)
    0.6931
    >>> round(float(icarl_distillation(zero, zero, form="release")), 4)
    0.7241
    """
    student = logits.sigmoid() if form == "release" else logits
    return F.binary_cross_entropy_with_logits(student, teacher_logits.sigmoid())
