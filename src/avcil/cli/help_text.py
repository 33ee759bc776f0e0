"""The help text of options.

tyro keeps the line breaks of docstrings, and shows `{None}|INT` and `(default: None)` for options without a default.
Here, a help text is one paragraph, options have their names on the command line, and a default is shown only if there
is one.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import types
import typing
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from avcil.utils.options import field_notes

_METAVARS = {int: "INT", float: "FLOAT", str: "STR", Path: "PATH"}


@functools.cache
def with_help(kind: type) -> type:
    """A subclass of the dataclass `kind` whose fields have their help text as annotations, also in subcommands."""
    hints = typing.get_type_hints(kind, include_extras=True)
    notes = field_notes(kind)
    options = {field.name for field in dataclasses.fields(kind) if not _is_positional(hints[field.name])}
    namespace: dict[str, Any] = {
        "__annotations__": {},
        "__doc__": kind.__doc__,
        "__module__": kind.__module__,
    }
    for field in dataclasses.fields(kind):
        hint = _subcommands_with_help(hints[field.name])
        if note := notes.get(field.name):
            hint = Annotated[hint, _argument(field, hint, _flag_names(note, options))]
        namespace["__annotations__"][field.name] = hint
        namespace[field.name] = dataclasses.field(
            default=field.default, default_factory=field.default_factory, kw_only=field.kw_only
        )
    subclass = type(kind.__name__, (kind,), namespace)
    return dataclasses.dataclass(frozen=True, kw_only=True)(subclass)


def without_help(kind: type, value: Any) -> Any:
    """The instance of `kind` for an instance of `with_help(kind)`."""
    fields = {}
    for field in dataclasses.fields(kind):
        part = getattr(value, field.name)
        if dataclasses.is_dataclass(part):  # a subcommand
            (original,) = type(part).__bases__
            part = without_help(original, part)
        fields[field.name] = part
    return kind(**fields)


def _argument(field: dataclasses.Field[Any], hint: Any, text: str) -> Any:
    def shown(default: str) -> str:
        return "" if default in ("None", "") else f"(default: {default})"

    metavar = _metavar(hint)
    if _is_positional(hint):
        metavar = _positional_metavar(field.name, hint, optional=field.default is not dataclasses.MISSING)
        if choices := _choices(_bare(hint)):
            text = f"{text} One of: {', '.join(choices)}."
    return tyro.conf.arg(help=text, help_behavior_hint=shown, metavar=metavar)


def _positional_metavar(name: str, hint: Any, *, optional: bool) -> str:
    """The name of the field instead of its type, such as MODEL.

    >>> _positional_metavar("clips", tuple[Path, ...], optional=True)
    '[CLIPS ...]'
    """
    metavar = f"{name.upper()} ..." if typing.get_origin(_bare(hint)) is tuple else name.upper()
    return f"[{metavar}]" if optional else metavar


def _metavar(hint: Any) -> str | None:
    """The metavar of `X | None` and `tuple[X, ...]`; None leaves the choice to tyro."""
    kinds = typing.get_args(_bare(hint))
    if len(kinds) != 2 or not {type(None), Ellipsis} & set(kinds):
        return None
    choices = _choices(_bare(hint))
    kind = _item_kind(_bare(hint))
    metavar = "{" + ",".join(choices) + "}" if choices else _METAVARS.get(kind)
    return f"{metavar} ..." if metavar and Ellipsis in kinds else metavar


def _choices(hint: Any) -> tuple[str, ...]:
    """The allowed values of a Literal or an enumeration, also in `X | None` and `tuple[X, ...]`."""
    kind = _item_kind(hint)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return tuple(member.value for member in kind)
    return typing.get_args(kind) if typing.get_origin(kind) is Literal else ()


def _item_kind(hint: Any) -> Any:
    """X for `X | None` and `tuple[X, ...]`, and other types themselves."""
    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None) and kind is not Ellipsis]
    return hint if typing.get_origin(hint) is Literal or len(kinds) != 1 else kinds[0]


def _flag_names(text: str, options: set[str]) -> str:
    """Replace the names of fields in backticks by those of the options.

    >>> _flag_names("Instead of `classes_per_step`, see `avcil streams`.", {"classes_per_step"})
    'Instead of --classes-per-step, see `avcil streams`.'
    """

    def flag(found: re.Match[str]) -> str:
        name = found[1]
        return f"--{name.replace('_', '-')}" if name in options else found[0]

    return re.sub(r"`(\w+)`", flag, text)


def _bare(hint: Any) -> Any:
    return hint.__origin__ if hasattr(hint, "__metadata__") else hint


def _is_positional(hint: Any) -> bool:
    return tyro.conf.Positional in getattr(hint, "__metadata__", ())


def _subcommands_with_help(hint: Any) -> Any:
    if hasattr(hint, "__metadata__"):
        return Annotated[(_subcommands_with_help(hint.__origin__), *hint.__metadata__)]
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return typing.Union[tuple(map(_subcommands_with_help, typing.get_args(hint)))]  # noqa: UP007
    return with_help(hint) if isinstance(hint, type) and dataclasses.is_dataclass(hint) else hint
