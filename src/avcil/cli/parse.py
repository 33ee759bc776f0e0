"""Parse the options of a command with tyro, from its dataclass.

`--config FILE` reads options from a TOML file, `--config recipe:METHOD/BENCHMARK` uses published hyper-parameters
(`avcil.experiments.recipes`). Options on the command line take precedence.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import sys
import tomllib
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro

from avcil.cli.help_text import with_help, without_help
from avcil.errors import InputError, unknown_name
from avcil.experiments.recipes import PREFIX, option_text, recipe


def parse(command: str, kind: type, words: Sequence[str]) -> Any:
    """Create the dataclass `kind` from command-line arguments; exits with 2 if they are invalid.

    Raises:
        InputError: From `kind` itself, or for an invalid --config.
    """
    words, source = _take_config(list(words))
    positional, flags = _split(words)
    from_file: list[str] = []
    if source is not None:
        values = recipe(source) if source.startswith(PREFIX) else _read_toml(Path(source))
        before, from_file = _words_of(values, source, kind)
        positional = positional or before
    if any(field.name == "set" for field in dataclasses.fields(kind)):
        from_file, flags = [], [*from_file, *flags]  # --set of the command line adds to that of the file
    for flag in _list_flags(kind):
        flags = _merge_repeated(flag, flags)
    words = [*positional, *from_file, *flags]
    _check_numbers(kind, words)
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return without_help(kind, tyro.cli(with_help(kind), prog=f"avcil {command}", args=words))
    except SystemExit as stop:
        if isinstance(stop.__context__, InputError):  # raised by `kind`; tyro would print it in a box
            raise stop.__context__ from None
        sys.stderr.write(errors.getvalue())
        raise


def _take_config(words: list[str]) -> tuple[list[str], str | None]:
    for position, word in enumerate(words):
        if word == "--":
            break
        if word == "--config":
            if position + 1 == len(words):
                raise InputError("--config needs a TOML file")
            return words[:position] + words[position + 2 :], words[position + 1]
        if word.startswith("--config="):
            return words[:position] + words[position + 1 :], word.removeprefix("--config=")
    return words, None


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """The leading positional arguments, and the rest."""
    first_flag = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    return words[:first_flag], words[first_flag:]


def _list_flags(kind: type) -> list[str]:
    """The options of `kind` with several values."""
    flags = []
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        metadata = getattr(hint, "__metadata__", ())
        is_list = typing.get_origin(hint.__origin__ if metadata else hint) is tuple
        if is_list and tyro.conf.Positional not in metadata:
            flag = next((item.name for item in metadata if getattr(item, "name", None)), name)
            flags.append(f"--{flag.replace('_', '-')}")
    return flags


def _fields_by_name(kind: type) -> dict[str, str]:
    """The field for each name of an option, current or former, with "_" instead of "-"."""
    fields = {}
    for field, hint in typing.get_type_hints(kind, include_extras=True).items():
        fields[field] = field
        for item in getattr(hint, "__metadata__", ()):
            for name in (getattr(item, "name", None), *(getattr(item, "aliases", None) or ())):
                if name:
                    fields[name.removeprefix("--").replace("-", "_")] = field
    return fields


def _check_numbers(kind: type, words: list[str]) -> None:
    """Raise InputError for a value that is not a number; tyro's message would name Python types."""
    hints = typing.get_type_hints(kind)
    fields = {f"--{name.replace('_', '-')}": field for name, field in _fields_by_name(kind).items()}
    flag = ""
    for word in words:
        if word == "--":
            return
        name, equals, value = word.partition("=") if word.startswith("--") else (flag, "=", word)
        flag = name.replace("_", "-")
        if equals and flag in fields:
            hint = hints[fields[flag]]
            _check_number(flag, value, _parts(hint))
            if typing.get_origin(hint) is not tuple:
                flag = ""  # the next word is another argument


def _parts(hint: Any) -> set[Any]:
    """The types and literal values of a hint, such as int and "auto" of `int | Literal["auto"]`."""
    inner = [item for item in typing.get_args(hint) if item is not ...]
    return {part for item in inner for part in _parts(item)} if inner else {hint}


def _check_number(flag: str, value: str, parts: set[Any]) -> None:
    """Check a value against the parts of the hint of its option, unless the option is not a number."""
    literals = sorted(part for part in parts if isinstance(part, str))
    types = parts - {*literals, type(None)}
    if not types or not types <= {int, float} or value in literals:
        return
    if value == "None" and type(None) in parts:
        return
    try:
        (float if float in types else int)(value)
    except ValueError:
        allowed = " or ".join(["a number" if float in types else "a whole number", *literals])
        raise InputError(f"{flag} must be {allowed}; not {value!r}") from None


def _merge_repeated(flag: str, words: list[str]) -> list[str]:
    """Merge the values of a repeated option, because tyro uses only the last one.

    >>> _merge_repeated("--set", ["--set", "a=1", "--seed", "2", "--set=b=3"])
    ['--seed', '2', '--set', 'a=1', 'b=3']
    """
    end = words.index("--") if "--" in words else len(words)
    values: list[str] = []
    others: list[str] = []
    inside = False
    for word in words[:end]:
        name, equals, value = word.partition("=")
        if word.startswith("-"):
            inside = name == flag
            values += [value] if inside and equals else []
            others += [] if inside else [word]
        else:
            (values if inside else others).append(word)
    return [*others, *([flag, *values] if values else []), *words[end:]]


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"cannot read {file} (--config): {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is not valid TOML: {error}") from None


def _words_of(values: dict[str, Any], source: str, kind: type) -> tuple[list[str], list[str]]:
    """The positional arguments and the options for the keys of a TOML file or recipe."""
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = _fields_by_name(kind)
    given = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in fields:
            raise InputError(f"{source}: {unknown_name('key', key, hints)}")
        given[fields[name]] = value
    positional: list[str] = []
    flags: list[str] = []
    for name in (name for name in hints if name in given):  # positional arguments in the order of the fields
        if tyro.conf.Positional in getattr(hints[name], "__metadata__", ()):
            positional += _values(given[name])
        else:
            flags += _flag(name.replace("_", "-"), given[name])
    return positional, flags


def _flag(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    if isinstance(value, dict | list):
        return [f"--{name}", *_values(value)]
    return [f"--{name}={value}"]


def _values(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [f"{option}={option_text(setting)}" for option, setting in value.items()]
    return list(map(option_text, value)) if isinstance(value, list) else [option_text(value)]
