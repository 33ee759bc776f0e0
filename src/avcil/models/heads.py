"""Heads that grow: one score per class seen, new classes behind the old ones.

B clips, D width, C classes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avcil.errors import InputError
from avcil.models import checks


class Head(nn.Module):
    """Scores of the classes seen so far, from a clip's feature."""

    kind: str
    classes: int
    width: int
    """D"""

    @abstractmethod
    def grow(self, count: int) -> None:
        """Add `count` classes; what is known of the old ones stays as it is, bit for bit."""

    @abstractmethod
    def to_config(self) -> dict[str, Any]:
        """What `head_from_config` needs to build a head of the same shape."""


class LinearHead(Head):
    """z = W h + b, rows of new classes initialised as `torch.nn.Linear` initialises them.

    >>> head = LinearHead(8)
    >>> head.grow(3); head.grow(2)
    >>> head(torch.zeros(4, 8)).shape[1]
    5
    """

    kind = "linear"

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.weight = nn.Parameter(torch.empty(0, width))
        self.bias = nn.Parameter(torch.empty(0))

    @property
    def classes(self) -> int:
        return len(self.bias)

    def grow(self, count: int) -> None:
        fresh = nn.Linear(self.width, count).to(self.weight)
        self.weight = nn.Parameter(torch.cat([self.weight.detach(), fresh.weight.detach()]))
        self.bias = nn.Parameter(torch.cat([self.bias.detach(), fresh.bias.detach()]))

    def forward(self, feature: Tensor) -> Tensor:
        """Logits (B, C) of features (B, D)."""
        return F.linear(feature, self.weight, self.bias)

    def to_config(self) -> dict[str, Any]:
        return {"kind": self.kind, "width": self.width, "classes": self.classes}


def _heads() -> dict[str, type[Head]]:
    from avcil.models.proxy_head import ProxyHead  # which builds on this file

    return {head.kind: head for head in (LinearHead, ProxyHead)}


def head_from_config(config: dict[str, Any]) -> Head:
    """Build a head of the shape that `Head.to_config` described; its weights are to be loaded.

    The config of a file is checked by `head_shapes` first.
    """
    options = {name: value for name, value in config.items() if name not in ("kind", "classes")}
    head = _heads()[config["kind"]](**options)
    if config["classes"]:
        head.grow(config["classes"])
    return head


def head_shapes(config: Any, width: int, tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shapes of a saved head's tensors, by name.

    Args:
        config: What `Head.to_config` gave, perhaps damaged.
        width: D of the features.
        tensors: Those of the network; how many proxies are frozen stands in them alone.

    Raises:
        InputError: If the config describes no head for this width.
    """
    kind = checks.choice(config, "kind", _heads())
    classes = checks.whole_number(config, "classes", least=1)
    if checks.whole_number(config, "width", least=1) != width:
        raise InputError(f"the head is {config['width']} wide, the features are {width}")
    known = {"kind", "classes", "width"} | ({"proxies"} if kind == "proxies" else set())
    if other := config.keys() - known:
        raise InputError(f"the head has the unknown option {min(other)!r:.40}")
    if kind == "linear":
        return {"weight": (classes, width), "bias": (classes,)}
    frozen = tensors.get("head.frozen", torch.empty(())).shape
    old = frozen[0] if frozen else 0
    each = (checks.whole_number(config, "proxies", least=1), width)
    return {"frozen": (old, *each), "learning": (max(classes - old, 0), *each), "scale": ()}
