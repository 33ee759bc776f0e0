"""Fused guided attention: key projection, both attentions and their gradients, block by block.

B clips, T time slices, S spatial tokens per slice, D width; the last n clips are compared with the maps of an older
model. Computes `attention.guided_attention` with P = tanh(V U^T + c), which is the reference in the tests. It is fast
because:

- attention maps are never stored: |P * p| < 1, so softmax needs no maximum, and sums of exponentials suffice;
- KL(A_old || A) = sum_S A_old (log A_old - P * p) + log sum_S exp(P * p) does not need the new maps either;
- sum_S A * dL/dA needs no pass over the tokens: it is d(sum_S A V) . sum_S A V + du . u;
- only P is stored for the backward pass; all element-wise operations are one pass over a block that is in the CPU
  cache after the matrix product (`kernels`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from avcil.nn.attention import GuidedAttention, guided_attention
from avcil.nn.kernels import choice
from avcil.nn.kernels.interface import SumGradients
from avcil.nn.token_rows import TokenRows, Tokens, block_of
from avcil.nn.workspace import BufferCheckout, Workspace

BLOCK_ROWS = 4096
"""Tokens per block on a CPU: 12 MB of keys and 12 MB of tokens with D = 768 in float32."""
BLOCK_ROWS_GPU = 2**20
_BLOCK_ROWS_OPERATORS = 2**16
"""On a GPU without Triton, where each operator allocates its output."""


class _ProjectedAttention(NamedTuple):
    """The result of `projected_attention`."""

    attended: Tensor
    """x (B, D), the tokens weighted by both attentions."""
    temporal_log: Tensor
    """log A_t (B, T, D)"""
    spatial_divergence: Tensor
    """(n,): sum over T and D of KL(A_old || A_s), for each of the last n clips."""


def projected_attention(
    tokens: Tokens,
    weight: Tensor,
    bias: Tensor,
    query: Tensor,
    *,
    old_spatial_log: Tokens | None = None,
    workspace: Workspace | None = None,
) -> _ProjectedAttention:
    """Attention over tokens V with keys tanh(V weight^T + bias).

    Tokens may have a lower precision than the weights: matrix products use the dtype of the tokens, sums that of the
    weights. Tokens and old maps get no gradient, since encoders and teachers are frozen.

    Args:
        tokens: V (B, T, S, D); rows of a pool are gathered block by block (`TokenRows`).
        weight: (D, D)
        bias: (D,)
        query: p (B, D), |p| <= 1.
        old_spatial_log: (n, T, S, D), log A_old for the last n clips; its exponentials sum to one over S.
        workspace: Buffers that the next call can reuse.
    """
    _check(tokens, weight, query, old_spatial_log)
    # Within `apply`, gradients are always disabled.
    trained = torch.is_grad_enabled() and any(t.requires_grad for t in (weight, bias, query))
    buffers = workspace if trained and workspace is not None else Workspace()
    attended, summary, divergence = _SpatialAttention.apply(
        tokens, weight, bias, query, old_spatial_log, trained, buffers
    )
    temporal_log = torch.log_softmax(summary * query[:, None, :], dim=1)
    return _ProjectedAttention((temporal_log.exp() * attended).sum(dim=1), temporal_log, divergence)


def _check(tokens: Tokens, weight: Tensor, query: Tensor, old: Tokens | None) -> None:
    """Check shapes and dtypes: kernels get addresses, and would read beyond the arrays."""
    count, width = len(tokens), tokens.shape[3]
    if query.shape != (count, width) or query.dtype != weight.dtype:
        raise ValueError(
            f"the query must be {(count, width)}, {weight.dtype}; not {tuple(query.shape)}, {query.dtype}"
        )
    if old is not None and (
        old.shape[1:] != tokens.shape[1:] or len(old) > count or old.dtype != weight.dtype
    ):
        raise ValueError(
            f"old attention must be (n, {', '.join(map(str, tokens.shape[1:]))}), n up to {count}, {weight.dtype}; not "
            f"{tuple(old.shape)}, {old.dtype}"
        )


def attention_maps(tokens: Tokens, weight: Tensor, bias: Tensor, query: Tensor) -> GuidedAttention:
    """Like `projected_attention`, but returns the maps; for teachers and explanations."""
    count, slices, _, width = tokens.shape
    shapes = (count, width), tokens.shape, (count, slices, width)
    maps = GuidedAttention(*(weight.new_empty(shape) for shape in shapes))
    for block, block_tokens, _ in _Reader(tokens, None, Workspace()):
        exact = block_tokens.to(weight.dtype)
        keys = torch.tanh(torch.nn.functional.linear(exact, weight, bias))
        for whole, part in zip(maps, guided_attention(exact, keys, query[block]), strict=True):
            whole[block] = part
    return maps


def _blocks(tokens: Tokens) -> list[slice]:
    """At least one block, so that an empty batch gives empty results of the right shape."""
    rows = BLOCK_ROWS
    if tokens.is_cuda:
        rows = BLOCK_ROWS_GPU if choice.has_triton() else _BLOCK_ROWS_OPERATORS
    clips = max(1, rows // max(1, math.prod(tokens.shape[1:3])))
    return [slice(at, min(at + clips, len(tokens))) for at in range(0, max(1, len(tokens)), clips)]


def _old_rows(old: Tokens, block: slice, count: int) -> slice | None:
    """The rows of `old` (n, ...) that belong to the block, where `old` is for the last n of `count` clips; None if
    none."""
    first = count - len(old)
    return slice(max(block.start, first) - first, block.stop - first) if block.stop > first else None


def _buffer(rows: Tokens | None, blocks: list[slice], workspace: Workspace) -> BufferCheckout | None:
    """A buffer for the largest block, the first one; None if no copy is needed."""
    if not isinstance(rows, TokenRows):
        return None
    return workspace.checkout(rows[blocks[0]].shape, rows.dtype, rows.device)


class _SpatialAttention(torch.autograd.Function):
    """(tokens, weight, bias, query, old_log) to sum_S A V (B, T, D), sum_S A P (B, T, D) and the divergence (n,)."""

    @staticmethod
    def forward(
        ctx: Any,
        tokens: Tokens,
        weight: Tensor,
        bias: Tensor,
        query: Tensor,
        old_log: Tokens | None,
        trained: bool,
        workspace: Workspace,
    ) -> tuple[Tensor, Tensor, Tensor]:
        tokens, old_log = _contiguous(tokens), None if old_log is None else _contiguous(old_log)
        bias, query = bias.contiguous(), query.contiguous()
        kernel, projection = choice.choose(tokens, weight.dtype), weight.to(tokens.dtype).T
        reader = _Reader(tokens, old_log, workspace)
        shape = tokens.shape if trained else tokens[reader.blocks[0]].shape
        checkout = workspace.checkout(shape, tokens.dtype, tokens.device)
        keys, parts = checkout.tensor, []
        for block, block_tokens, old_maps in reader:
            block_keys = keys[block] if trained else keys[: block.stop - block.start]
            torch.mm(block_tokens.flatten(0, 2), projection, out=block_keys.flatten(0, 2))
            parts.append(kernel.forward(block_keys, block_tokens, bias, query[block], old_maps))
        total = torch.cat([part.total for part in parts])
        attended = torch.cat([part.attended for part in parts])
        summary = torch.cat([part.summary for part in parts])
        divergence = _divergence([part.cross for part in parts], total, tokens.shape[2])
        if trained:
            # Tokens and old maps do not change and get no gradient; the keys' buffer is in use until `ctx` is deleted.
            ctx.reader, ctx.checkout = reader, checkout
            ctx.save_for_backward(keys, weight, query, total, attended, summary)
        return attended, summary, divergence

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, grad_attended: Tensor, grad_summary: Tensor, grad_divergence: Tensor
    ) -> tuple[None, Tensor, Tensor, Tensor, None, None, None]:
        keys, weight, query, total, attended, summary = ctx.saved_tensors
        reader: _Reader = ctx.reader
        kernel = choice.choose(reader.tokens, weight.dtype)
        grad_divergence = grad_divergence.contiguous()
        shared = grad_attended * attended + grad_summary * summary
        buffer = reader.workspace.checkout(keys[reader.blocks[0]].shape, keys.dtype, keys.device)
        grad_weight, grad_bias, grad_query = torch.zeros_like(weight), weight.new_zeros(len(weight)), []
        for block, block_tokens, old_maps in reader:
            gradients = SumGradients(
                attended=grad_attended[block].contiguous(),
                summary=grad_summary[block].contiguous(),
                shared=shared[block].contiguous(),
                divergence=grad_divergence[_old_rows(grad_divergence, block, len(keys)) or slice(0)],
            )
            out = buffer.tensor[: block.stop - block.start]
            for_query, for_bias = kernel.backward(
                keys[block], block_tokens, query[block], total[block], gradients, old_maps, out
            )
            grad_query.append(for_query)
            grad_bias += for_bias
            _add_product(grad_weight, out.flatten(0, 2).T, block_tokens.flatten(0, 2))
        return None, grad_weight, grad_bias, torch.cat(grad_query), None, None, None


def _contiguous(rows: Tokens) -> Tokens:
    return rows if isinstance(rows, TokenRows) else rows.contiguous()


class _Reader:
    """Iterates over tokens and old maps block by block, once in the forward and once in the backward pass."""

    def __init__(self, tokens: Tokens, old_log: Tokens | None, workspace: Workspace) -> None:
        self.tokens, self.old_log, self.workspace = tokens, old_log, workspace
        self.blocks = _blocks(tokens)

    def __iter__(self) -> Iterator[tuple[slice, Tensor, Tensor | None]]:
        """Yields a slice of clips, their tokens (C, T, S, D) and old maps; valid until the next iteration."""
        for_tokens, for_old = (
            _buffer(rows, self.blocks, self.workspace) for rows in (self.tokens, self.old_log)
        )
        for block in self.blocks:
            old = None
            if self.old_log is not None:
                old_slice = _old_rows(self.old_log, block, len(self.tokens))
                old = None if old_slice is None else block_of(self.old_log, old_slice, for_old)
            yield block, block_of(self.tokens, block, for_tokens), old


def _divergence(crosses: list[Tensor | None], total: Tensor, spatial: int) -> Tensor:
    """sum over T and D of sum_S A_old (log A_old - log A), by clip (n,)."""
    present = [cross for cross in crosses if cross is not None]
    if not present:
        return total.new_zeros(0)
    cross = torch.cat(present)
    return (cross + (total[-len(cross) :] / spatial).log()).sum(dim=(1, 2))


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left right, accumulated in the dtype of `total`."""
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    elif left.is_cuda:
        total += torch.mm(left, right, out_dtype=total.dtype)
    else:
        total += left.to(total.dtype) @ right.to(total.dtype)
