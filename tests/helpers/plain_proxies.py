"""The equations of a head with several proxies per class, and of its initialization, in plain PyTorch, float64.

B clips, D width, C classes, P proxies of a class.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from lock_step import Transcription
from plain_equations import Weights, plain_forward, unit
from torch import Tensor

PROXIES = 3


def proxy_scores(proxies: Tensor, eta: Tensor, h: Tensor) -> Tensor:
    """eta sum_p softmax_p(sim) sim, sim = -||hat(h) - hat(w)||^2, by differences."""
    similarity = -(unit(h)[:, None, None] - unit(proxies)[None]).square().sum(dim=3)
    share = torch.exp(similarity) / torch.exp(similarity).sum(dim=2, keepdim=True)
    return eta * (share * similarity).sum(dim=2)


def nca(z: Tensor, y: Tensor) -> Tensor:
    """-s'_y + log(1 + sum_{j != y} exp s'_j) of each clip, s' = s - max s."""
    losses = []
    for scores, label in zip(z, y, strict=True):
        shifted = scores - scores.max()
        others = sum(torch.exp(shifted[j]) for j in range(len(shifted)) if j != int(label))
        losses.append(-shifted[label] + torch.log(1 + others))
    return torch.stack(losses)


class ProxyTranscription(Transcription):
    """A method with a proxy head. New proxies are taken from the run, and checked."""

    frozen = ("head.frozen",)
    herds = True

    def z(self, w: Weights, h: Tensor) -> Tensor:
        return proxy_scores(torch.cat([w["head.frozen"], w["head.learning"]]), w["head.scale"], h)

    def head_scores(self, w: Weights, rows: Tensor) -> Tensor:
        return self.z(w, plain_forward(w, self.a[rows], self.V[rows]).h)

    def assert_proxies_are_centers(self, w: Weights, *, points: Callable[[Tensor], Tensor]) -> None:
        """Each new proxy points to the mean of some `points(h)` of clips of its class, and has the old mean norm."""
        new = w["head.learning"]
        torch.testing.assert_close(new.norm(dim=2), w["head.frozen"].norm(dim=2).mean().expand(new.shape[:2]))
        for number, label in enumerate(range(self.known, self.total)):
            rows = self.rows("train", [label])
            h = points(plain_forward(self.old, self.a[rows], self.V[rows]).h)
            assert len(_clusters(h, unit(new[number]))) == PROXIES


def _clusters(h: Tensor, directions: Tensor) -> list[list[int]]:
    """The clips of each center, found by trying all subsets of eight clips."""
    result = []
    for mask in range(1, 2 ** len(h)):
        members = [i for i in range(len(h)) if mask >> i & 1]
        mean = h[members].mean(dim=0)
        if any(torch.allclose(unit(mean), direction, atol=1e-9) for direction in directions):
            result.append(members)
    return result
