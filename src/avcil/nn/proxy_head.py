"""AFC's head: each class has several proxies; its score is a softmax-weighted similarity to them.

B clips, D width, C classes, P proxies of a class. Source: PODNet (ECCV 2020), section 3.2; AFC (CVPR 2022).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avcil.nn.head import Head
from avcil.utils import checks


class ProxyHead(Head):
    """score_c = sum_p softmax_p(sim_cp) sim_cp, sim_cp = -||hat(h) - hat(w_cp)||^2; logits are eta * score.

    `add_classes` freezes existing proxies. New ones are drawn from a Gaussian with variance 1/D, or set by `imprint`.

    >>> head = ProxyHead(8, proxies=3)
    >>> head.add_classes(3); head.add_classes(2)
    >>> head(torch.ones(4, 8)).shape[1], len(head.frozen), len(head.learning)
    (5, 3, 2)
    """

    kind = "proxies"
    frozen: Tensor
    """(C_old, P, D), proxies of earlier classes, without gradient and weight decay."""

    def __init__(self, width: int, *, proxies: int) -> None:
        super().__init__()
        self.width, self.proxies = width, proxies
        self.register_buffer("frozen", torch.empty(0, proxies, width))
        self.learning = nn.Parameter(torch.empty(0, proxies, width))
        self.scale = nn.Parameter(torch.ones(()))  # eta

    @property
    def classes(self) -> int:
        return len(self.frozen) + len(self.learning)

    def add_classes(self, count: int) -> None:
        self.frozen = self.all_proxies().detach()
        self.learning = nn.Parameter(self._random(count).to(self.frozen))

    def _random(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """(count, P, D)"""
        return torch.randn(count, self.proxies, self.width, generator=generator) / math.sqrt(self.width)

    def randomize(self, generator: torch.Generator) -> None:
        """Draw the proxies of the newest classes again."""
        with torch.no_grad():
            self.learning.copy_(self._random(len(self.learning), generator))

    def reset_scale(self) -> None:
        """Set eta to 1, its initial value."""
        with torch.no_grad():
            self.scale.fill_(1.0)

    def all_proxies(self) -> Tensor:
        """w (C, P, D), old classes first."""
        return torch.cat([self.frozen, self.learning])

    def imprint(self, centers: Tensor) -> None:
        """Set the proxies of the newest classes to `centers` (C_new, P, D), scaled to the mean norm of the old ones."""
        norm, centers = self.frozen.norm(dim=2).mean(), centers.to(self.learning)
        with torch.no_grad():
            self.learning.copy_(norm * F.normalize(centers, dim=2))

    def forward(self, feature: Tensor) -> Tensor:
        """Logits (B, C) of features (B, D)."""
        unit, proxies = F.normalize(feature, dim=1), F.normalize(self.all_proxies(), dim=2)
        similarity = 2 * torch.einsum("bd,cpd->bcp", unit, proxies) - 2  # -||a - b||^2 at unit length
        return self.scale * (similarity.softmax(dim=2) * similarity).sum(dim=2)

    def to_config(self) -> dict[str, Any]:
        return {"kind": self.kind, "width": self.width, "proxies": self.proxies, "classes": self.classes}

    @classmethod
    def shapes(
        cls, config: Mapping[str, Any], classes: int, tensors: Mapping[str, Tensor]
    ) -> dict[str, tuple[int, ...]]:
        each = (checks.whole_number(config, "proxies", least=1), config["width"])
        frozen = (*tensors.get("frozen", torch.empty(())).shape, 0)[0]
        return {"frozen": (frozen, *each), "learning": (max(classes - frozen, 0), *each), "scale": ()}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Load a head with another number of frozen classes."""
        saved = state_dict.get(prefix + "frozen")
        if saved is not None and len(saved) <= self.classes and len(saved) != len(self.frozen):
            everything = self.all_proxies().detach()
            self.frozen = everything[: len(saved)].clone()
            self.learning = nn.Parameter(everything[len(saved) :].clone())
        super()._load_from_state_dict(state_dict, prefix, *rest)
