"""Prefixes of tensor names, which group the tensors of a file."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def add_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add a prefix and a dot to the names of tensors.

    >>> import torch
    >>> list(add_prefix("head", {"weight": torch.ones(1)}))
    ['head.weight']
    """
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def strip_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names have the prefix, named without it.

    >>> import torch
    >>> list(strip_prefix("head", {"head.weight": torch.ones(1), "mean": torch.ones(1)}))
    ['weight']
    """
    start = prefix + "."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
