"""Checks of JSON values and tensors from files, which may be damaged or come from anyone.

The functions raise `InputError` without the name of the file, which the caller adds.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from avcil.errors import InputError

MAX_INTEGER = 1 << 20
"""Default maximum of integers: widths, features and classes of a model."""
_CHUNK = 1 << 24
"""Number of elements that are checked together."""
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
DOUBLE = (torch.float64,)
T = TypeVar("T")
_TYPE_NAMES = {str: "a string", bool: "true or false", list: "a list", dict: "a JSON object"}


def entry(holder: Any, name: str) -> Any:
    """The value under a name in a JSON object."""
    if not isinstance(holder, dict):
        raise InputError(f"{holder!r:.60} is not a JSON object with the name {name!r}")
    if name not in holder:
        raise InputError(f"the name {name!r} is missing")
    return holder[name]


def typed(holder: Any, name: str, kind: type[T]) -> T:
    """The value under a name, of the type `kind`: str, bool, list or dict."""
    value = entry(holder, name)
    if not isinstance(value, kind):
        raise InputError(f"{name} is {value!r:.60}; it must be {_TYPE_NAMES[kind]}")
    return value


def strings(holder: Any, name: str) -> list[str]:
    """The list of strings under a name, none of them empty."""
    values = entry(holder, name)
    if not isinstance(values, list) or not all(isinstance(text, str) and text for text in values):
        raise InputError(f"{name} is {values!r:.60}; it must be a list of strings, none of them empty")
    return values


def whole_number(holder: Any, name: str, *, least: int = 0, most: int = MAX_INTEGER) -> int:
    """The integer under a name, in a range."""
    value = entry(holder, name)
    if type(value) is not int or not least <= value <= most:
        raise InputError(f"{name} is {value!r:.60}; allowed is an integer from {least} to {most}")
    return value


def number(holder: Any, name: str) -> float:
    """The number under a name."""
    value = entry(holder, name)
    if type(value) not in (int, float):
        raise InputError(f"{name} is {value!r:.60}; it must be a number")
    return float(value)


def choice(holder: Any, name: str, allowed: Collection[Any]) -> Any:
    """The value under a name, one of `allowed`."""
    value = entry(holder, name)
    if not isinstance(value, str) or value not in allowed:
        raise InputError(f"{name} is {value!r:.60}; allowed: {', '.join(map(str, allowed))}")
    return value


def whole_numbers(holder: Any, name: str, *, least: int = 0, most: int = MAX_INTEGER) -> list[int]:
    """The list of integers under a name, each in a range."""
    values = entry(holder, name)
    if not isinstance(values, list) or not all(type(v) is int and least <= v <= most for v in values):
        raise InputError(f"{name} is {values!r:.60}; allowed is a list of integers from {least} to {most}")
    return values


def tensor(
    tensors: Mapping[str, Tensor],
    name: str,
    shape: tuple[int, ...],
    *,
    dtypes: Collection[torch.dtype] = _FLOATS,
) -> Tensor:
    """The tensor with this name, exactly this shape and one of these dtypes."""
    value = tensors.get(name)
    if value is None:
        raise InputError(f"the tensor {name!r} is missing")
    if tuple(value.shape) != shape or value.dtype not in dtypes:
        raise InputError(
            f"the tensor {name!r} is {value.dtype} of shape {tuple(value.shape)}, not of shape {shape}"
            + (f" and dtype {', '.join(map(str, dtypes))}" if value.dtype not in dtypes else "")
        )
    return value


def no_others(tensors: Mapping[str, Tensor], known: Collection[str]) -> None:
    """Raise InputError for tensors that the model does not use."""
    if other := sorted(tensors.keys() - set(known)):
        raise InputError(f"unknown tensors: {', '.join(other)[:100]}")


def finite(tensors: Mapping[str, Tensor]) -> None:
    """Raise InputError for NaN and infinity."""
    for name, values in tensors.items():
        if values.is_floating_point():
            chunks = values.reshape(-1).split(_CHUNK)
            if not all(bool(chunk.isfinite().all()) for chunk in chunks):
                raise InputError(f"the tensor {name!r:.80} contains NaN or infinity")


def positive(value: Tensor, name: str) -> float:
    """The element of a tensor with one element, finite and above 0."""
    number = float(value)
    if not (math.isfinite(number) and number > 0):
        raise InputError(f"{name} is {number}; it must be finite and above 0")
    return number
