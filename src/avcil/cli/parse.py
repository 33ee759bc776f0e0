"""Options of a verb: tyro over its dataclass, with a TOML file (`--config`) setting what flags would; flags win.

`--config recipe:METHOD/BENCHMARK` takes a recipe that comes with avcil (`avcil.recipes`).
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro

from avcil.errors import InputError, unknown_name
from avcil.recipes import PREFIX, recipe_file


def parse(verb: str, kind: type, words: Sequence[str]) -> Any:
    """An instance of the dataclass `kind` from command-line words; exits with 2 on words that do not fit."""
    words, file = _take_config(list(words))
    from_file = _words_of_toml(file, kind) if file is not None else []
    return tyro.cli(kind, prog=f"avcil {verb}", args=[*words_before(words, kind), *from_file, *words_after(words, kind)])


def _take_config(words: list[str]) -> tuple[list[str], Path | None]:
    for position, word in enumerate(words):
        if word == "--":
            break
        if word == "--config":
            if position + 1 == len(words):
                raise InputError("--config needs a TOML file")
            return words[:position] + words[position + 2 :], _config_file(words[position + 1])
        if word.startswith("--config="):
            return words[:position] + words[position + 1 :], _config_file(word.removeprefix("--config="))
    return words, None


def _config_file(name: str) -> Path:
    return recipe_file(name) if name.startswith(PREFIX) else Path(name)


def words_before(words: list[str], kind: type) -> list[str]:
    """The positional words that come first."""
    first_flag = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    return words[:first_flag]


def words_after(words: list[str], kind: type) -> list[str]:
    """The flags, which win over a file's because they come later."""
    return words[len(words_before(words, kind)) :]


def _words_of_toml(file: Path, kind: type) -> list[str]:
    """A TOML file's keys as the flags that they stand for."""
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"there is no file {file} (--config)") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is not valid TOML: {error}") from None
    known = [field.name for field in dataclasses.fields(kind)]
    words: list[str] = []
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in known:
            raise unknown_name(f"key in {file}", key, known)
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, dict):
            words += [flag, *(f"{option}={_word(setting)}" for option, setting in value.items())]
        elif isinstance(value, list):
            words += [flag, *map(_word, value)]
        elif isinstance(value, bool):
            words.append(flag if value else f"--no-{name.replace('_', '-')}")
        else:
            words += [flag, _word(value)]
    return words


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
