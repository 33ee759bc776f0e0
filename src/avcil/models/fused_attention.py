"""Guided attention in one operator: the key projection, both attentions, and their gradients, block by block.

B clips, T time slices, S spatial tokens per slice, D width. The same mathematics as `attention.guided_attention`
of P = tanh(V U^T + c), which is its plain transcription and the tests' oracle. What makes it fast on a CPU:

- |P * p| < 1, so softmax needs no maximum: exponentials and their sums suffice;
- blocks of clips small enough that a block's temporaries stay in the processor's cache;
- sum_S A * dA is known without a pass over the tokens: it is d(sum_S A V) . sum_S A V + du . u;
- only P is kept for the way back, and logarithms of maps are made for the clips alone that distillation asks about.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from avcil.models.attention import GuidedAttention

BLOCK_ELEMENTS = 2**17
"""Numbers of one temporary in a block: half a megabyte in float32."""


def projected_attention(
    tokens: Tensor, weight: Tensor, bias: Tensor, query: Tensor, *, maps_from: int = 0
) -> GuidedAttention:
    """Attend to `tokens` V (B, T, S, D) by keys tanh(V weight^T + bias) and `query` p (B, D), |p| <= 1.

    The logarithms of the maps are given for the clips from `maps_from` on only: (B - maps_from, T, S, D) and
    (B - maps_from, T, D). No gradient goes to the tokens: encoders are frozen.
    """
    return GuidedAttention(*_ProjectedAttention.apply(tokens, weight, bias, query, maps_from))


def _blocks(tokens: Tensor) -> list[slice]:
    clips = max(1, BLOCK_ELEMENTS // max(1, tokens[0].numel())) if len(tokens) else 1
    return [slice(start, min(start + clips, len(tokens))) for start in range(0, len(tokens), clips)]


class _ProjectedAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, tokens: Tensor, weight: Tensor, bias: Tensor, query: Tensor, maps_from: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        count, slices, _, width = tokens.shape
        trained = any(ctx.needs_input_grad)
        keys = torch.empty_like(tokens) if trained else None
        log_sums, summary, seen = (tokens.new_empty(count, slices, width) for _ in range(3))
        spatial_log = tokens.new_empty(count - maps_from, *tokens.shape[1:])
        for block in _blocks(tokens):
            block_keys = (
                torch.addmm(bias, tokens[block].flatten(0, 2), weight.T).view_as(tokens[block]).tanh_()
            )
            scores = block_keys * query[block, None, None, :]
            if block.stop > maps_from:
                first = max(block.start, maps_from)
                spatial_log[first - maps_from : block.stop - maps_from] = scores[first - block.start :]
            power = scores.exp_()
            total = power.sum(dim=2)
            torch.log(total, out=log_sums[block])
            torch.div((power * tokens[block]).sum(dim=2), total, out=seen[block])
            torch.div(power.mul_(block_keys).sum(dim=2), total, out=summary[block])
            if keys is not None:
                keys[block] = block_keys
        spatial_log -= log_sums[maps_from:, :, None, :]
        temporal_log = torch.log_softmax(summary * query[:, None, :], dim=1)
        temporal = temporal_log.exp()
        if keys is not None:
            ctx.save_for_backward(tokens, keys, weight, query, log_sums, summary, seen, temporal)
            ctx.maps_from = maps_from
        return (temporal * seen).sum(dim=1), spatial_log, temporal_log[maps_from:].clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, grad: Tensor, grad_spatial_log: Tensor, grad_temporal_log: Tensor
    ) -> tuple[None, Tensor, Tensor, Tensor, None]:
        tokens, keys, weight, query, log_sums, summary, seen, temporal = ctx.saved_tensors
        first_map = ctx.maps_from
        # temporal softmax
        grad_scores = temporal * (grad[:, None, :] * (seen - (temporal * seen).sum(dim=1, keepdim=True)))
        grad_scores[first_map:] += grad_temporal_log - temporal[first_map:] * grad_temporal_log.sum(
            dim=1, keepdim=True
        )
        grad_query = (grad_scores * summary).sum(dim=1)
        grad_summary = grad_scores * query[:, None, :]
        grad_seen = grad[:, None, :] * temporal
        # sum_S A * dL/dA, which the softmax over S subtracts
        shared = grad_seen * seen + grad_summary * summary
        grad_weight, grad_bias = torch.zeros_like(weight), weight.new_zeros(len(weight))
        for block in _blocks(tokens):
            wide = (block, slice(None), None, slice(None))
            block_tokens, block_keys = tokens[block], keys[block]
            guide = query[block, None, None, :]
            attention = (block_keys * guide).sub_(log_sums[wide]).exp_()
            grad_score = block_tokens * grad_seen[wide]
            grad_score.addcmul_(block_keys, grad_summary[wide].expand_as(block_keys)).sub_(shared[wide]).mul_(
                attention
            )
            if block.stop > first_map:
                first = max(block.start, first_map)
                mine = slice(first - block.start, None)
                given = grad_spatial_log[first - first_map : block.stop - first_map]
                grad_score[mine] += given
                grad_score[mine].addcmul_(
                    attention[mine], given.sum(dim=2, keepdim=True).expand_as(given), value=-1
                )
            grad_query[block] += (grad_score * block_keys).sum(dim=(1, 2))
            grad_key = grad_score.mul_(guide).addcmul_(attention, grad_summary[wide].expand_as(attention))
            grad_key.addcmul_(grad_key * block_keys, block_keys, value=-1)  # through tanh
            flat = grad_key.flatten(0, 2)
            grad_weight.addmm_(flat.T, block_tokens.flatten(0, 2))
            grad_bias += flat.sum(dim=0)
        return None, grad_weight, grad_bias, grad_query, None
