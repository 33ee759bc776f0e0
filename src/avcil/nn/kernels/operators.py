"""The kernel in PyTorch operators, for any device and dtype. Shapes as in `interface`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from avcil.nn.kernels.interface import SumGradients, Sums


def forward(keys: Tensor, tokens: Tensor, bias: Tensor, query: Tensor, old_log: Tensor | None) -> Sums:
    """See `kernels.Kernel`; sums have the dtype of `query`."""
    exact = keys.to(query.dtype).add_(bias) if keys.dtype != query.dtype else keys.add_(bias)
    exact.tanh_()
    if exact is not keys:
        keys.copy_(exact)
        exact = keys.to(query.dtype)  # the rounded keys, as in the backward pass
    score = exact * query[:, None, None, :]
    cross = None
    if old_log is not None:
        log = old_log.to(query.dtype)
        cross = (log.exp() * (log + math.log(keys.shape[2]) - score[-len(log) :])).sum(dim=2)
    power = score.exp_()
    total = power.sum(dim=2)
    attended = (power * tokens).sum(dim=2) / total
    return Sums(total, attended, power.mul_(exact).sum(dim=2) / total, cross)


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
    keys, guide = keys.to(query.dtype), query[:, None, None, :]
    grad_summary = gradients.summary[:, :, None, :].expand_as(keys)
    attention = (keys * guide).exp_().div_(total[:, :, None, :])
    grad = tokens * gradients.attended[:, :, None, :]
    grad.addcmul_(keys, grad_summary).sub_(gradients.shared[:, :, None, :]).mul_(attention)
    if old_log is not None:
        old = slice(-len(old_log), None)
        difference = attention[old] - old_log.to(query.dtype).exp()
        grad[old].addcmul_(difference, gradients.divergence[:, None, None, None].expand_as(difference))
    grad_query = (grad * keys).sum(dim=(1, 2))
    grad.mul_(guide).addcmul_(attention, grad_summary)
    grad.addcmul_(grad * keys, keys, value=-1)  # through tanh
    out.copy_(grad)
    return grad_query, torch.sum(grad, dim=(0, 1, 2))
