"""The interface of kernels; `choice.choose` selects one.

C clips of a block, T time slices, S spatial tokens per slice, D width; the last n clips are compared with the maps of
an older model.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor


class Sums(NamedTuple):
    """Result of the forward pass of a block, in addition to the keys."""

    total: Tensor
    """(C, T, D): sum_S exp(P * p)"""
    attended: Tensor
    """(C, T, D): sum_S A_s * V"""
    summary: Tensor
    """(C, T, D): sum_S A_s * P"""
    cross: Tensor | None
    """(n, T, D): sum_S A_old * (log A_old + log S - P * p); None without old maps."""


class SumGradients(NamedTuple):
    """Input of the backward pass of a block: gradients of the sums."""

    attended: Tensor
    """(C, T, D)"""
    summary: Tensor
    """(C, T, D)"""
    shared: Tensor
    """(C, T, D): sum_S A_s * dL/dA_s, which the softmax gradient subtracts."""
    divergence: Tensor
    """(n,)"""


class Kernel(Protocol):
    """A module of this package: the operations between the matrix product of the projection and that of its gradient.

    Each function makes one pass over the tokens.
    """

    __name__: str

    def forward(
        self, keys: Tensor, tokens: Tensor, bias: Tensor, query: Tensor, old_log: Tensor | None
    ) -> Sums:
        """`keys` (C, T, S, D) is V U^T on entry and P = tanh(V U^T + bias) on return; `query` (C, D), |p| <= 1.

        `old_log` (n, T, S, D): log spatial attention of an older model for the last n clips.
        """

    def backward(
        self,
        keys: Tensor,
        tokens: Tensor,
        query: Tensor,
        total: Tensor,
        gradients: SumGradients,
        old_log: Tensor | None,
        out: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Write the gradient of V U^T into `out` (C, T, S, D); return those of query (C, D) and bias (D,)."""
