"""Dual audio-visual similarity constraint (D-AVSC): aligns audio and visual features of a clip, and of a class.

N clips of a batch, D width. g_ij = hat(f_a,i) . hat(f_v,j) / tau, softmax over j. Source: AV-CIL, section 3.3.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

ClassForm = Literal["paper", "release"]


def audio_visual_log_similarity(
    audio_feature: Tensor, visual_feature: Tensor, *, temperature: float = 0.05
) -> Tensor:
    """log softmax_j(g_ij) (N, N): similarity of audio i and visual j, from features (N, D)."""
    similarity = F.normalize(audio_feature, dim=1) @ F.normalize(visual_feature, dim=1).T
    return F.log_softmax(similarity / temperature, dim=1)


def instance_similarity(log_similarity: Tensor) -> Tensor:
    """Instance-aware: -(1/N) sum_i log softmax(g_i)_i, from `audio_visual_log_similarity` (N, N).

    >>> import torch
    >>> round(float(instance_similarity(torch.full((2, 2), 0.5).log())), 4)
    0.6931
    """
    return -log_similarity.diagonal().mean()


def class_similarity(log_similarity: Tensor, labels: Tensor, *, form: ClassForm) -> Tensor:
    """Class-aware: the positives P(i) are all clips of the class, including the clip itself.

    The form "paper" (Eq. 7): -(1/N) sum_i (1/|P(i)|) sum_{j in P(i)} log softmax(g_i)_j. The form "release" has
    1/N in place of 1/|P(i)|, which makes it 12 to 80 times smaller; lambda_C = 1 was tuned for it.

    >>> import torch
    >>> log_similarity, labels = torch.full((2, 2), 0.5).log(), torch.tensor([0, 1])
    >>> round(float(class_similarity(log_similarity, labels, form="release")), 4)
    0.3466
    """
    same = (labels[:, None] == labels[None, :]).to(log_similarity)
    counts = same.sum(dim=1) if form == "paper" else float(len(labels))
    return -((same * log_similarity).sum(dim=1) / counts).mean()
