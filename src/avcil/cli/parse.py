"""Options of a command: tyro over its dataclass, with a TOML file (`--config`) setting what flags would; flags win.

`--config recipe:METHOD/BENCHMARK` uses published hyper-parameters (`avcil.experiments.recipes`).
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

from avcil.errors import InputError, unknown_name
from avcil.experiments.recipes import PREFIX, recipe


def parse(verb: str, kind: type, words: Sequence[str]) -> Any:
    """An instance of the dataclass `kind` from command-line words; exits with 2 on words that do not fit.

    What `kind` itself refuses when it is made is raised as it is, an InputError.
    """
    words, source = _take_config(list(words))
    positional, flags = _split(words)
    from_file: list[str] = []
    if source is not None:
        values = recipe(source) if source.startswith(PREFIX) else _read_toml(Path(source))
        before, from_file = _words_of(values, source, kind)
        positional = positional or before
    if any(field.name == "set" for field in dataclasses.fields(kind)):
        from_file, flags = [], [*from_file, *flags]  # single options of the command line override the file's
    for flag in _list_flags(kind):
        flags = _gathered(flag, flags)
    refusal = io.StringIO()
    try:
        with contextlib.redirect_stderr(refusal):
            return tyro.cli(kind, prog=f"avcil {verb}", args=[*positional, *from_file, *flags])
    except SystemExit as stop:
        if isinstance(stop.__context__, InputError):  # raised by `kind`; tyro would put it into a frame
            raise stop.__context__ from None
        sys.stderr.write(refusal.getvalue())
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
    """The positional words that come first, and the flags, which win over a file's because they come later."""
    first_flag = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    return words[:first_flag], words[first_flag:]


def _list_flags(kind: type) -> list[str]:
    """The flags of `kind` that take several values."""
    flags = []
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        marks = getattr(hint, "__metadata__", ())
        several = typing.get_origin(hint.__origin__ if marks else hint) is tuple
        if several and tyro.conf.Positional not in marks:
            given = next((mark.name for mark in marks if getattr(mark, "name", None)), name)
            flags.append(f"--{given.replace('_', '-')}")
    return flags


def _gathered(flag: str, words: list[str]) -> list[str]:
    """The words with all values of a repeated flag after one flag; of repeated flags, tyro uses only the last.

    >>> _gathered("--set", ["--set", "a=1", "--seed", "2", "--set=b=3"])
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
    """The keys of a TOML file or recipe as the positional words and the flags that they stand for."""
    hints = typing.get_type_hints(kind, include_extras=True)
    given = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in hints:
            raise unknown_name(f"key in {source}", key, hints)
        given[name] = value
    positional: list[str] = []
    flags: list[str] = []
    for name in (name for name in hints if name in given):  # positional words in the order of the fields
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
        return [f"{option}={_word(setting)}" for option, setting in value.items()]
    return [_word(item) for item in value] if isinstance(value, list) else [_word(value)]


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
