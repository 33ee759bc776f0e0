"""Options of methods and streams: a frozen dataclass, filled from NAME=VALUE words."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import textwrap
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from avcil.errors import InputError, unknown_name


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoOptions:
    """The options of a method or stream that has none."""


def split_settings(words: Iterable[str], usage: str) -> dict[str, str]:
    """Values by name, from words NAME=VALUE.

    Raises:
        InputError: A word is something else. The message begins with `usage`.
    """
    settings = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise InputError(f"{usage}; not {word!r}")
        settings[name.strip()] = value.strip()
    return settings


def check_range(
    options: Any,
    *names: str,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
) -> None:
    """Refuse numbers outside a range; for `__post_init__` of a dataclass of options.

    Args:
        options: The dataclass.
        names: Names of its fields.
        least: Smallest allowed value.
        above: Allowed values are above this.
        most: Largest allowed value.

    Raises:
        InputError: A value is not in the range.
    """
    texts = {f"{least:g} or more": least, f"above {above:g}": above, f"at most {most:g}": most}
    allowed = " and ".join(text for text, bound in texts.items() if math.isfinite(bound))
    for name in names:
        value = getattr(options, name)
        if not (least <= value <= most and value > above):
            raise InputError(f"option {name} must be {allowed}; not {value:g}")


def fill_options(kind: type, values: Mapping[str, Any], *, owner: str) -> Any:
    """An instance of the dataclass `kind`, each value converted to the type of its field.

    Args:
        kind: A dataclass whose fields are bool, int, float, str or Literal.
        values: By name; "-" and "_" are the same in names. Values may be strings.
        owner: Whose options these are, for error messages, such as "method av-cil".

    Raises:
        InputError: A name is unknown, or a value does not fit its type.
    """
    fields = {field.name for field in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    converted = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in fields:
            if not fields:
                raise InputError(f"{owner} has no options; remove {name}={value}")
            raise unknown_name(f"option of {owner}", name, fields)
        converted[name] = _convert(value, hints[name], f"option {name} of {owner}")
    return kind(**converted)


def _convert(value: Any, hint: Any, where: str) -> Any:
    if typing.get_origin(hint) is typing.Literal:
        allowed = typing.get_args(hint)
        if value not in allowed:
            raise InputError(f"{where} must be one of {', '.join(map(str, allowed))}; not {value!r}")
        return value
    if hint is bool:
        words = {"true": True, "false": False, "1": True, "0": False}
        if str(value).lower() not in words:
            raise InputError(f"{where} must be true or false; not {value!r}")
        return words[str(value).lower()]
    if hint is str:
        return str(value)
    try:
        if isinstance(value, bool) or not math.isfinite(float(value)) or (hint is int and float(value) % 1):
            raise ValueError
        return hint(float(value)) if hint is int else hint(value)
    except (TypeError, ValueError, OverflowError):
        kind = "a whole number" if hint is int else "a number"
        raise InputError(f"{where} must be {kind}; not {value!r}") from None


_INDENT = " " * 6


def describe_options(kind: type) -> list[str]:
    """For each field of a dataclass: a line with name, default and type, and its docstring, wrapped."""
    notes, hints, lines = field_notes(kind), typing.get_type_hints(kind), []
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        allowed = " | ".join(map(str, typing.get_args(hint))) or getattr(hint, "__name__", str(hint))
        value = "(empty)" if field.default == "" else field.default
        default = "(required)" if value is dataclasses.MISSING else f"= {value}"
        note = textwrap.wrap(
            notes.get(field.name, ""),
            100,
            initial_indent=_INDENT,
            subsequent_indent=_INDENT,
            break_on_hyphens=False,
        )
        lines += [f"  {field.name} {default}   ({allowed})", *note]
    return lines


def field_notes(kind: type) -> dict[str, str]:
    """The docstring under each field of a dataclass, inherited fields included."""
    pattern = re.compile(r'^    (\w+):[^\n]*\n    """(.*?)"""', re.MULTILINE | re.DOTALL)
    classes = [base for base in reversed(kind.__mro__) if dataclasses.is_dataclass(base)]
    matches = [match for base in classes for match in pattern.findall(inspect.getsource(base))]
    return {name: " ".join(note.split()) for name, note in matches}
