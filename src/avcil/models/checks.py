"""Checks of what a saved model says of itself: a file may come from anyone, or be damaged.

Each raises `InputError` without the file's name, which the caller adds.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from avcil.data.clips import LONGEST_LABEL
from avcil.errors import InputError

MOST = 1 << 20
"""Widths, features and classes of a model."""
PIECE = 1 << 24
"""Numbers that are looked at together."""
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def entry(holder: Any, name: str) -> Any:
    """The value of a name in a JSON object."""
    if not isinstance(holder, dict):
        raise InputError(f"there is {holder!r:.60} in place of a JSON object with the name {name!r}")
    if name not in holder:
        raise InputError(f"the name {name!r} is missing")
    return holder[name]


def whole_number(holder: Any, name: str, *, least: int = 0, most: int = MOST) -> int:
    """The whole number of a name, in its range."""
    value = entry(holder, name)
    if type(value) is not int or not least <= value <= most:
        raise InputError(f"{name} is {value!r:.60}; allowed is a whole number from {least} to {most}")
    return value


def number(holder: Any, name: str) -> float:
    """The number of a name."""
    value = entry(holder, name)
    if type(value) not in (int, float):
        raise InputError(f"{name} is {value!r:.60}; it must be a number")
    return float(value)


def choice(holder: Any, name: str, allowed: Collection[Any]) -> Any:
    """The value of a name, which is one of a few."""
    value = entry(holder, name)
    if not isinstance(value, str) or value not in allowed:
        raise InputError(f"{name} is {value!r:.60}; allowed: {', '.join(map(str, allowed))}")
    return value


def whole_numbers(holder: Any, name: str, *, least: int = 0, most: int = MOST) -> list[int]:
    """The list of whole numbers of a name, each in its range."""
    values = entry(holder, name)
    if not isinstance(values, list) or not all(type(v) is int and least <= v <= most for v in values):
        raise InputError(
            f"{name} is {values!r:.60}; allowed is a list of whole numbers from {least} to {most}"
        )
    return values


def tensor(
    tensors: Mapping[str, Tensor],
    name: str,
    shape: tuple[int, ...],
    *,
    dtypes: Collection[torch.dtype] = FLOATS,
) -> Tensor:
    """The tensor of a name, of exactly this shape and one of these types."""
    found = tensors.get(name)
    if found is None:
        raise InputError(f"the tensor {name!r} is missing")
    if tuple(found.shape) != shape or found.dtype not in dtypes:
        raise InputError(
            f"the tensor {name!r} is {found.dtype} of shape {tuple(found.shape)}, not of shape {shape}"
            + (f" and type {', '.join(map(str, dtypes))}" if found.dtype not in dtypes else "")
        )
    return found


def no_others(tensors: Mapping[str, Tensor], known: Collection[str]) -> None:
    """Refuse tensors of which the model makes no use."""
    if other := sorted(tensors.keys() - set(known)):
        raise InputError(f"there are tensors of which it makes no use: {', '.join(other)[:100]}")


def finite(tensors: Mapping[str, Tensor]) -> None:
    """Refuse NaN and infinity."""
    for name, values in tensors.items():
        if values.is_floating_point():
            pieces = values.reshape(-1).split(PIECE)
            if not all(bool(piece.isfinite().all()) for piece in pieces):
                raise InputError(f"the tensor {name!r:.80} holds NaN or infinity")


def labels(value: Any) -> list[str]:
    """Class names: texts, each once, neither empty nor long."""
    if not isinstance(value, list) or not all(isinstance(label, str) for label in value):
        raise InputError("it must be a list of class names, each once")
    if not value or len(set(value)) != len(value):
        raise InputError("it must name one class or more, each once")
    odd = [label for label in value if not label.strip() or len(label) > LONGEST_LABEL]
    if odd:
        raise InputError(
            f"{odd[0]!r:.60} is no class name: one has from 1 to {LONGEST_LABEL} characters, not all blanks"
        )
    return value


def positive(value: Tensor, name: str) -> float:
    """The one number of a tensor, finite and above 0."""
    number = float(value)
    if not (math.isfinite(number) and number > 0):
        raise InputError(f"{name} is {number}; it must be finite and above 0")
    return number
