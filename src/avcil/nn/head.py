"""The interface of growing heads, and the linear head: one logit for each class, new classes last.

B clips, D width, C classes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Head(nn.Module):
    """Computes logits of the learned classes from features."""

    kind: str
    width: int
    """D"""

    @property
    @abstractmethod
    def classes(self) -> int:
        """Number of classes, C."""

    @abstractmethod
    def add_classes(self, count: int) -> None:
        """Add `count` classes; parameters of the old ones do not change."""

    @abstractmethod
    def to_config(self) -> dict[str, Any]:
        """The configuration as JSON: `kind`, `classes`, and the arguments of the class."""

    @classmethod
    @abstractmethod
    def shapes(
        cls, config: Mapping[str, Any], classes: int, tensors: Mapping[str, Tensor]
    ) -> dict[str, tuple[int, ...]]:
        """Shapes of the saved tensors, by name, from `to_config` and the tensors, which may be damaged.

        The width in `config` and C (`classes`) have been checked; InputError for other invalid values.
        """


class LinearHead(Head):
    """z = W h + b, with the initialization of `torch.nn.Linear` for new classes.

    >>> head = LinearHead(8)
    >>> head.add_classes(3); head.add_classes(2)
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

    def add_classes(self, count: int) -> None:
        new = nn.Linear(self.width, count).to(self.weight)
        self.weight = nn.Parameter(torch.cat([self.weight.detach(), new.weight.detach()]))
        self.bias = nn.Parameter(torch.cat([self.bias.detach(), new.bias.detach()]))

    def forward(self, feature: Tensor) -> Tensor:
        """Logits (B, C) of features (B, D)."""
        return F.linear(feature, self.weight, self.bias)

    def to_config(self) -> dict[str, Any]:
        return {"kind": self.kind, "width": self.width, "classes": self.classes}

    @classmethod
    def shapes(
        cls, config: Mapping[str, Any], classes: int, tensors: Mapping[str, Tensor]
    ) -> dict[str, tuple[int, ...]]:
        return {"weight": (classes, config["width"]), "bias": (classes,)}
