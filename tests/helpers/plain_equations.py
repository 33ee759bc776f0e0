"""The equations of the network, its losses, herding and Adam in plain PyTorch, float64.

B clips, T slices, S tokens, D width, C classes.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import torch
from torch import Tensor

LEARNING_RATE, DECAY, BETA_1, BETA_2, EPSILON = 5e-3, 1e-3, 0.9, 0.999, 1e-8
Weights = dict[str, Tensor]


def plain_forward(w: Weights, a: Tensor, V: Tensor) -> SimpleNamespace:
    """x, f_a, f_v, h and both attention maps, with explicit softmax."""
    p = torch.tanh(a @ w["audio_attention.weight"].T + w["audio_attention.bias"])
    P = torch.tanh(V @ w["visual_attention.weight"].T + w["visual_attention.bias"])
    powers = torch.exp(P * p[:, None, None, :])
    A_s = powers / powers.sum(dim=2, keepdim=True)
    u = (A_s * P).sum(dim=2)
    powers = torch.exp(u * p[:, None, :])
    A_t = powers / powers.sum(dim=1, keepdim=True)
    x = (A_t * (A_s * V).sum(dim=2)).sum(dim=1)
    f_a = (a @ w["audio_projection.weight"].T + w["audio_projection.bias"]).clamp(min=0)
    f_v = (x @ w["visual_projection.weight"].T + w["visual_projection.bias"]).clamp(min=0)
    return SimpleNamespace(x=x, f_a=f_a, f_v=f_v, h=f_a + f_v, A_s=A_s, A_t=A_t)


def linear_scores(w: Weights, h: Tensor) -> Tensor:
    """Logits of the linear head."""
    return h @ w["head.weight"].T + w["head.bias"]


def logits(w: Weights, a: Tensor, V: Tensor) -> Tensor:
    """Logits of clips, by the linear head."""
    return linear_scores(w, plain_forward(w, a, V).h)


def probabilities(z: Tensor) -> Tensor:
    """Softmax over the last dimension of (B, C)."""
    powers = torch.exp(z - z.max(dim=1, keepdim=True).values)
    return powers / powers.sum(dim=1, keepdim=True)


def cross_entropy(z: Tensor, y: Tensor) -> Tensor:
    """Mean over clips."""
    return -torch.log(probabilities(z)[torch.arange(len(y)), y]).mean()


def unit(v: Tensor) -> Tensor:
    """hat(v)"""
    return v / v.norm(dim=-1, keepdim=True)


def taskwise(z: Tensor, z_old: Tensor, sizes, T: float = 2.0) -> Tensor:
    """Task-wise distillation over the classes of the earlier steps."""
    total, start = z.new_zeros(()), 0
    for size in sizes:
        q = probabilities(z_old[:, start : start + size] / T)
        r = probabilities(z[:, start : start + size] / T)
        total = total + T**2 * (q * (q.log() - r.log())).sum() / len(z)
        start += size
    return total


def herd(h: Tensor, quota: int, *, repeats: bool) -> list[int]:
    """Greedy herding on unit features, one candidate after the other."""
    u = unit(h)
    mean, total, chosen = u.mean(dim=0), torch.zeros_like(u[0]), []
    for k in range(1, min(quota, len(u)) + 1):
        distances = [
            float(((total + u[i]) / k - mean).square().sum()) if repeats or i not in chosen else math.inf
            for i in range(len(u))
        ]
        chosen.append(distances.index(min(distances)))
        total = total + u[chosen[-1]]
    return chosen


class PlainAdam:
    """Adam with coupled weight decay, from its paper."""

    def __init__(self, w: Weights):
        self.m = {name: torch.zeros_like(value) for name, value in w.items()}
        self.v = {name: torch.zeros_like(value) for name, value in w.items()}
        self.t = 0

    def step(self, w: Weights, gradients: Weights) -> None:
        self.t += 1
        for name, g in gradients.items():
            g = g + DECAY * w[name]
            self.m[name] = BETA_1 * self.m[name] + (1 - BETA_1) * g
            self.v[name] = BETA_2 * self.v[name] + (1 - BETA_2) * g**2
            m, v = self.m[name] / (1 - BETA_1**self.t), self.v[name] / (1 - BETA_2**self.t)
            w[name] = w[name] - LEARNING_RATE * m / (v.sqrt() + EPSILON)
