"""Building heads from a saved configuration, and checking it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from avcil.errors import InputError
from avcil.nn.head import Head, LinearHead
from avcil.nn.proxy_head import ProxyHead
from avcil.utils import checks
from avcil.utils.tensor_names import strip_prefix

HEADS: dict[str, type[Head]] = {head.kind: head for head in (LinearHead, ProxyHead)}


def head_from_config(config: dict[str, Any]) -> Head:
    """Build a head from `Head.to_config`, without its weights.

    Check untrusted configurations with `head_shapes` first.
    """
    options = {name: value for name, value in config.items() if name not in ("kind", "classes")}
    head = HEADS[config["kind"]](**options)
    if config["classes"]:
        head.add_classes(config["classes"])
    return head


def head_shapes(config: Any, width: int, tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a saved head, by name.

    Args:
        config: From `Head.to_config`, possibly damaged.
        width: D.
        tensors: Tensors of the network.

    Raises:
        InputError: The configuration is invalid or has another width.
    """
    kind = checks.choice(config, "kind", HEADS)
    classes = checks.whole_number(config, "classes", least=1)
    if checks.whole_number(config, "width", least=1) != width:
        raise InputError(f"the head has width {config['width']}, the features have width {width}")
    if other := config.keys() - {"kind", "classes", *inspect.signature(HEADS[kind]).parameters}:
        raise InputError(f"the head has the unknown option {min(other)!r:.40}")
    return HEADS[kind].shapes(config, classes, strip_prefix("head", tensors))
