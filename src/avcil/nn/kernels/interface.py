"""What a kernel of this folder is given and gives. `choice.choose` says which one runs.

C clips of a block, T time slices, S spatial tokens of a slice, D width; the last n clips are compared with an older
model's maps.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor


class Sums(NamedTuple):
    """What a block's forward pass gives, beside the keys."""

    total: Tensor
    """(C, T, D): sum_S exp(P * p)"""
    seen: Tensor
    """(C, T, D): sum_S A_s * V"""
    summary: Tensor
    """(C, T, D): sum_S A_s * P"""
    cross: Tensor | None
    """(n, T, D): sum_S A_old * (log A_old + log S - P * p); None where there are no old maps"""


class Pull(NamedTuple):
    """What a block's backward pass is given: gradients of the sums."""

    seen: Tensor
    """(C, T, D)"""
    summary: Tensor
    """(C, T, D)"""
    shared: Tensor
    """(C, T, D): sum_S A_s * dL/dA_s, which softmax subtracts"""
    divergence: Tensor
    """(n,)"""


class Kernel(Protocol):
    """A module of this folder: what lies between the projection's matrix product and its gradient's.

    Each function is one pass over the tokens.
    """

    __name__: str

    def forward(
        self, keys: Tensor, tokens: Tensor, bias: Tensor, query: Tensor, old_log: Tensor | None
    ) -> Sums:
        """`keys` (C, T, S, D) is V U^T on entry and P = tanh(V U^T + bias) on return; `query` (C, D), |p| <= 1.

        `old_log` (n, T, S, D): logarithms of an older model's spatial attention to the last n clips.
        """

    def backward(
        self,
        keys: Tensor,
        tokens: Tensor,
        query: Tensor,
        total: Tensor,
        pull: Pull,
        old_log: Tensor | None,
        out: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Write the gradient of V U^T into `out` (C, T, S, D); give those of query (C, D) and bias (D,)."""
