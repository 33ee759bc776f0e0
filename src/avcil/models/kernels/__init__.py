"""The element-wise half of guided attention, once a kind of machine; `choose` says which one runs.

C clips of a block, T time slices, S spatial tokens of a slice, D width; the last n clips are compared with an older
model's maps. Each module has the two functions of `Kernel`: what lies between the projection's matrix product and
its gradient's, in one pass over the tokens each way.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from avcil.models.token_rows import Tokens


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
    """A module of this folder."""

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


@functools.cache
def has_triton() -> bool:
    """Whether Triton is there; says once on stderr that it is not."""
    if importlib.util.find_spec("triton") is None:
        print(
            "avcil: Triton is not installed, so guided attention runs in PyTorch's operators, which are slower on a "
            "GPU. Install the package triton",
            file=sys.stderr,
        )
        return False
    return True


def choose(tokens: Tokens, dtype: torch.dtype) -> Kernel:
    """The fastest kernel for `tokens` with reductions in `dtype`: Triton's, the compiled one, or PyTorch's."""
    if tokens.is_cuda and has_triton():
        from avcil.models.kernels import triton_kernel

        return triton_kernel
    if tokens.device.type == "cpu" and tokens.dtype == dtype and dtype in (torch.float32, torch.float64):
        from avcil.models.kernels import native

        if native.available():
            return native
    from avcil.models.kernels import operators

    return operators
