"""The kernel in Triton, for GPUs. Shapes as in `interface`.

A program processes BLOCK_D channels of one slice of a clip, in blocks of BLOCK_S tokens. Keys and
tokens may be bfloat16 or float16; sums and arithmetic have the dtype of the query. With TRITON_INTERPRET=1 the same
code runs on a CPU.
"""

from __future__ import annotations

import contextlib
import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from avcil.nn.kernels.interface import SumGradients, Sums

BLOCK_S, BLOCK_D = 16, 64


@triton.jit
def _forward(
    keys, tokens, bias, query, old, total, attended, summary, cross,
    first_old, slices, spatial, width, log_tokens_high, log_tokens_low,
    HAS_OLD: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    slice_index = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    inside = columns < width
    clip, old_index = slice_index // slices, slice_index - first_old * slices
    dtype = total.dtype.element_ty
    log_tokens = (
        tl.zeros((1, 1), dtype=dtype) + log_tokens_high + log_tokens_low
    )  # arguments are float32: two represent a float64
    bias_row = tl.load(bias + columns, mask=inside, other=0).to(dtype)[None, :]
    query_row = tl.load(query + clip * width + columns, mask=inside, other=0)[None, :]
    totals = tl.zeros((BLOCK_S, BLOCK_D), dtype=dtype)
    attended_sums = tl.zeros((BLOCK_S, BLOCK_D), dtype=dtype)
    summary_sums = tl.zeros((BLOCK_S, BLOCK_D), dtype=dtype)
    crosses = tl.zeros((BLOCK_S, BLOCK_D), dtype=dtype)
    for start in range(0, spatial, BLOCK_S):
        rows = start + tl.arange(0, BLOCK_S)
        mask = (rows < spatial)[:, None] & inside[None, :]
        offset = rows[:, None] * width + columns[None, :]
        at = slice_index * spatial * width + offset
        projected = tl.load(keys + at, mask=mask, other=0).to(dtype) + bias_row
        rounded = (2 * tl.sigmoid(2 * projected) - 1).to(keys.dtype.element_ty)
        tl.store(keys + at, rounded, mask=mask)
        key = rounded.to(dtype)
        power = tl.where(mask, tl.exp(key * query_row), 0)
        totals += power
        attended_sums += power * tl.load(tokens + at, mask=mask, other=0).to(dtype)
        summary_sums += power * key
        if HAS_OLD:  # noqa: SIM102  (known when compiled; `and` is not)
            if old_index >= 0:
                log = tl.load(old + old_index * spatial * width + offset, mask=mask, other=0).to(dtype)
                crosses += tl.where(mask, tl.exp(log) * (log + log_tokens - key * query_row), 0)
    sums = slice_index * width + columns
    total_sum = tl.sum(totals, axis=0)
    tl.store(total + sums, total_sum, mask=inside)
    tl.store(attended + sums, tl.sum(attended_sums, axis=0) / total_sum, mask=inside)
    tl.store(summary + sums, tl.sum(summary_sums, axis=0) / total_sum, mask=inside)
    if HAS_OLD:  # noqa: SIM102
        if old_index >= 0:
            tl.store(cross + old_index * width + columns, tl.sum(crosses, axis=0), mask=inside)


@triton.jit
def _backward(
    keys, tokens, query, total, grad_attended, grad_summary, shared, old, grad_divergence, out, grad_query, grad_bias,
    first_old, slices, spatial, width,
    HAS_OLD: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    slice_index = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    inside = columns < width
    clip, old_index = slice_index // slices, slice_index - first_old * slices
    dtype = total.dtype.element_ty
    sums = slice_index * width + columns
    query_row = tl.load(query + clip * width + columns, mask=inside, other=0)[None, :]
    share = 1 / tl.load(total + sums, mask=inside, other=1)[None, :]
    grad_of_attended = tl.load(grad_attended + sums, mask=inside, other=0)[None, :]
    grad_of_summary = tl.load(grad_summary + sums, mask=inside, other=0)[None, :]
    common = tl.load(shared + sums, mask=inside, other=0)[None, :]
    queries = tl.zeros((BLOCK_S, BLOCK_D), dtype=dtype)
    biases = tl.zeros((BLOCK_S, BLOCK_D), dtype=dtype)
    for start in range(0, spatial, BLOCK_S):
        rows = start + tl.arange(0, BLOCK_S)
        mask = (rows < spatial)[:, None] & inside[None, :]
        offset = rows[:, None] * width + columns[None, :]
        at = slice_index * spatial * width + offset
        key = tl.load(keys + at, mask=mask, other=0).to(dtype)
        token = tl.load(tokens + at, mask=mask, other=0).to(dtype)
        attention = tl.where(mask, tl.exp(key * query_row) * share, 0)
        score = attention * (token * grad_of_attended + key * grad_of_summary - common)
        if HAS_OLD:  # noqa: SIM102  (known when compiled; `and` is not)
            if old_index >= 0:
                log = tl.load(old + old_index * spatial * width + offset, mask=mask, other=0).to(dtype)
                score += tl.where(
                    mask, tl.load(grad_divergence + old_index // slices) * (attention - tl.exp(log)), 0
                )
        queries += score * key
        grad = (score * query_row + attention * grad_of_summary) * (1 - key * key)
        biases += grad
        tl.store(out + at, grad.to(out.dtype.element_ty), mask=mask)
    tl.store(grad_query + sums, tl.sum(queries, axis=0), mask=inside)
    tl.store(grad_bias + sums, tl.sum(biases, axis=0), mask=inside)


def _on(tensor: Tensor) -> contextlib.AbstractContextManager[object]:
    """Triton launches on the current GPU, which may differ from that of the tensor."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else contextlib.nullcontext()


def _grid(keys: Tensor) -> tuple[int, int]:
    clips, slices, _, width = keys.shape
    return clips * slices, triton.cdiv(width, BLOCK_D)


def forward(keys: Tensor, tokens: Tensor, bias: Tensor, query: Tensor, old_log: Tensor | None) -> Sums:
    """See `kernels.Kernel`; sums have the dtype of `query`."""
    clips, slices, spatial, width = keys.shape
    old_count = 0 if old_log is None else len(old_log)
    total, attended, summary = (query.new_empty(clips, slices, width) for _ in range(3))
    cross = query.new_empty(old_count, slices, width)
    log_tokens = float(torch.tensor(math.log(spatial), dtype=torch.float32))
    if clips:
        with _on(keys):
            _forward[_grid(keys)](
                keys, tokens, bias, query, old_log if old_count else total, total, attended, summary, cross,
                clips - old_count, slices, spatial, width, log_tokens, math.log(spatial) - log_tokens,
                HAS_OLD=old_count > 0, BLOCK_S=BLOCK_S, BLOCK_D=BLOCK_D,
            )  # fmt: skip
    return Sums(total, attended, summary, cross if old_count else None)


def backward(
    keys: Tensor,
    tokens: Tensor,
    query: Tensor,
    total: Tensor,
    gradients: SumGradients,
    old_log: Tensor | None,
    out: Tensor,
) -> tuple[Tensor, Tensor]:
    """See `kernels.Kernel`."""
    clips, slices, spatial, width = keys.shape
    old_count = 0 if old_log is None else len(old_log)
    grad_query, grad_bias = (query.new_empty(clips, slices, width) for _ in range(2))
    if clips:
        with _on(keys):
            _backward[_grid(keys)](
                keys, tokens, query, total, gradients.attended, gradients.summary, gradients.shared,
                old_log if old_count else total, gradients.divergence if old_count else total, out,
                grad_query, grad_bias,
                clips - old_count, slices, spatial, width,
                HAS_OLD=old_count > 0, BLOCK_S=BLOCK_S, BLOCK_D=BLOCK_D,
            )  # fmt: skip
    return grad_query.sum(dim=1), torch.sum(grad_bias, dim=(0, 1))
