"""Audio-guided spatial and temporal attention over visual tokens.

B clips, T time slices, S spatial tokens per slice, D width. Source: AV-CIL (ICCV 2023), section 3.2; there is
one attention map per channel, no temperature, and the weighted sum is over the raw tokens.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F


class GuidedAttention(NamedTuple):
    """The result of `guided_attention`; logarithms, because distillation needs them accurately."""

    attended: Tensor
    """x (B, D), the tokens weighted by both attentions."""
    spatial_log: Tensor
    """log A_s (B, T, S, D); the exponentials sum to one over S."""
    temporal_log: Tensor
    """log A_t (B, T, D); the exponentials sum to one over T."""


def guided_attention(tokens: Tensor, keys: Tensor, query: Tensor) -> GuidedAttention:
    """Attention over `tokens` V (B, T, S, D) with `keys` P (B, T, S, D) and the audio `query` p (B, D).

    A_s = softmax_S(P * p), u = sum_S A_s * P, A_t = softmax_T(u * p), x = sum_T A_t * sum_S A_s * V.

    >>> import torch
    >>> tokens, keys = torch.ones(1, 2, 3, 4), torch.zeros(1, 2, 3, 4)
    >>> round(float(guided_attention(tokens, keys, torch.ones(1, 4)).attended.sum()), 4)
    4.0
    """
    spatial_log = F.log_softmax(keys * query[:, None, None, :], dim=2)
    spatial = spatial_log.exp()
    summary = (spatial * keys).sum(dim=2)  # (B, T, D)
    temporal_log = F.log_softmax(summary * query[:, None, :], dim=1)
    attended = (temporal_log.exp() * (spatial * tokens).sum(dim=2)).sum(dim=1)  # (B, D)
    return GuidedAttention(attended, spatial_log, temporal_log)
