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
    keys, tokens, bias, query, old, total, seen, summary, cross,
    first_old, slices, spatial, width, even_high, even_low,
    HAS_OLD: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    piece = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    inside = columns < width
    clip, held = piece // slices, piece - first_old * slices
    kind = total.dtype.element_ty
    even = (
        tl.zeros((1, 1), dtype=kind) + even_high + even_low
    )  # arguments are float32: two represent a float64
    shift = tl.load(bias + columns, mask=inside, other=0).to(kind)[None, :]
    guide = tl.load(query + clip * width + columns, mask=inside, other=0)[None, :]
    totals = tl.zeros((BLOCK_S, BLOCK_D), dtype=kind)
    seens = tl.zeros((BLOCK_S, BLOCK_D), dtype=kind)
    summaries = tl.zeros((BLOCK_S, BLOCK_D), dtype=kind)
    crosses = tl.zeros((BLOCK_S, BLOCK_D), dtype=kind)
    for start in range(0, spatial, BLOCK_S):
        rows = start + tl.arange(0, BLOCK_S)
        mask = (rows < spatial)[:, None] & inside[None, :]
        place = rows[:, None] * width + columns[None, :]
        at = piece * spatial * width + place
        projected = tl.load(keys + at, mask=mask, other=0).to(kind) + shift
        rounded = (2 * tl.sigmoid(2 * projected) - 1).to(keys.dtype.element_ty)
        tl.store(keys + at, rounded, mask=mask)
        key = rounded.to(kind)
        power = tl.where(mask, tl.exp(key * guide), 0)
        totals += power
        seens += power * tl.load(tokens + at, mask=mask, other=0).to(kind)
        summaries += power * key
        if HAS_OLD:  # noqa: SIM102  (known when compiled; `and` is not)
            if held >= 0:
                log = tl.load(old + held * spatial * width + place, mask=mask, other=0).to(kind)
                crosses += tl.where(mask, tl.exp(log) * (log + even - key * guide), 0)
    sums = piece * width + columns
    whole = tl.sum(totals, axis=0)
    tl.store(total + sums, whole, mask=inside)
    tl.store(seen + sums, tl.sum(seens, axis=0) / whole, mask=inside)
    tl.store(summary + sums, tl.sum(summaries, axis=0) / whole, mask=inside)
    if HAS_OLD:  # noqa: SIM102
        if held >= 0:
            tl.store(cross + held * width + columns, tl.sum(crosses, axis=0), mask=inside)


@triton.jit
def _backward(
    keys, tokens, query, total, pull_seen, pull_summary, shared, old, pull, out, grad_query, grad_bias,
    first_old, slices, spatial, width,
    HAS_OLD: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    piece = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    inside = columns < width
    clip, held = piece // slices, piece - first_old * slices
    kind = total.dtype.element_ty
    sums = piece * width + columns
    guide = tl.load(query + clip * width + columns, mask=inside, other=0)[None, :]
    share = 1 / tl.load(total + sums, mask=inside, other=1)[None, :]
    for_seen = tl.load(pull_seen + sums, mask=inside, other=0)[None, :]
    for_summary = tl.load(pull_summary + sums, mask=inside, other=0)[None, :]
    common = tl.load(shared + sums, mask=inside, other=0)[None, :]
    queries = tl.zeros((BLOCK_S, BLOCK_D), dtype=kind)
    biases = tl.zeros((BLOCK_S, BLOCK_D), dtype=kind)
    for start in range(0, spatial, BLOCK_S):
        rows = start + tl.arange(0, BLOCK_S)
        mask = (rows < spatial)[:, None] & inside[None, :]
        place = rows[:, None] * width + columns[None, :]
        at = piece * spatial * width + place
        key = tl.load(keys + at, mask=mask, other=0).to(kind)
        token = tl.load(tokens + at, mask=mask, other=0).to(kind)
        attention = tl.where(mask, tl.exp(key * guide) * share, 0)
        score = attention * (token * for_seen + key * for_summary - common)
        if HAS_OLD:  # noqa: SIM102  (known when compiled; `and` is not)
            if held >= 0:
                log = tl.load(old + held * spatial * width + place, mask=mask, other=0).to(kind)
                score += tl.where(mask, tl.load(pull + held // slices) * (attention - tl.exp(log)), 0)
        queries += score * key
        grad = (score * guide + attention * for_summary) * (1 - key * key)
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
    held = 0 if old_log is None else len(old_log)
    total, seen, summary = (query.new_empty(clips, slices, width) for _ in range(3))
    cross = query.new_empty(held, slices, width)
    even = float(torch.tensor(math.log(spatial), dtype=torch.float32))
    if clips:
        with _on(keys):
            _forward[_grid(keys)](
                keys, tokens, bias, query, old_log if held else total, total, seen, summary, cross,
                clips - held, slices, spatial, width, even, math.log(spatial) - even,
                HAS_OLD=held > 0, BLOCK_S=BLOCK_S, BLOCK_D=BLOCK_D,
            )  # fmt: skip
    return Sums(total, seen, summary, cross if held else None)


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
    held = 0 if old_log is None else len(old_log)
    grad_query, grad_bias = (query.new_empty(clips, slices, width) for _ in range(2))
    if clips:
        with _on(keys):
            _backward[_grid(keys)](
                keys, tokens, query, total, gradients.seen, gradients.summary, gradients.shared,
                old_log if held else total, gradients.divergence if held else total, out, grad_query, grad_bias,
                clips - held, slices, spatial, width,
                HAS_OLD=held > 0, BLOCK_S=BLOCK_S, BLOCK_D=BLOCK_D,
            )  # fmt: skip
    return grad_query.sum(dim=1), torch.sum(grad_bias, dim=(0, 1))
