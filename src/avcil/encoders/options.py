"""Checking the options of encoders, which may come from untrusted files, against the constructor's type hints."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping
from typing import Any

from avcil.errors import InputError


def check_options(encoder_class: type, name: str, options: Mapping[str, Any]) -> None:
    """Check the types of options.

    Args:
        encoder_class: The encoder, whose constructor has all the options.
        name: Name of the encoder in error messages.
        options: Values by name.

    Raises:
        InputError: A value has the wrong type.
    """
    constructor = inspect.getattr_static(encoder_class, "__init__")
    hints = typing.get_type_hints(constructor) if options else {}
    for option, value in options.items():
        hint = hints.get(option, Any)
        if not _fits(value, hint):
            shown = getattr(hint, "__name__", str(hint))
            raise InputError(f"option {option} of encoder {name!r} is {value!r:.60}; it must be {shown}")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value has the type of a hint.

    >>> _fits(3, int | None), _fits(True, int), _fits("3", int), _fits(3, float)
    (True, False, False, True)
    """
    origin = typing.get_origin(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in typing.get_args(hint))
    if origin is typing.Literal:
        return isinstance(value, str | int) and value in typing.get_args(hint)
    kind = type(None) if hint is None else origin or hint
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float) if kind is float else isinstance(value, kind)
