"""Methods by name: a file `methods/some_name.py` is the method `some-name`; a path to a file works as well."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import math
import sys
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avcil.errors import InputError, unknown_name

if TYPE_CHECKING:
    from avcil.methods.base import ClosedFormMethod, Method

_NOT_METHODS = {"__init__", "base", "exemplars", "registry"}
_FROM_FILES: dict[str, type[ClosedFormMethod]] = {}
"""By their `name`, the methods that this process loaded from files it was told of."""


def method_names() -> list[str]:
    """Names of the methods that come with avcil; no method is imported for it."""
    stems = (path.stem for path in Path(__file__).parent.glob("*.py"))
    return sorted(
        stem.replace("_", "-") for stem in stems if stem not in _NOT_METHODS and not stem.startswith("_")
    )


def load_method(name: str) -> type[Method]:
    """The class of the method `name`, or of the one method in the Python file `name`."""
    from avcil.methods.base import ClosedFormMethod

    if name.endswith(".py"):
        module = _import_file(Path(name))
    elif name in method_names():
        module = importlib.import_module(f"avcil.methods.{name.replace('-', '_')}")
    else:
        raise unknown_name("method", name, method_names())
    method = _only_method(module, name)
    if name.endswith(".py") and issubclass(method, ClosedFormMethod):
        if method.name in method_names():  # its saved models would be taken for the other's
            raise InputError(f"{name}: avcil has a method {method.name} already. Give yours another name")
        _FROM_FILES[method.name] = method
    return method


def method_of_kind(kind: str) -> type[Method]:
    """The method whose models are of `kind`: one of avcil's, or of a file that `load_method` was given before.

    Never runs a file: what a model's folder says is not to be trusted so far.

    :raises InputError: for another; it says how to make it known.
    """
    if kind in method_names():
        return load_method(kind)
    if kind in _FROM_FILES:
        return _FROM_FILES[kind]
    raise InputError(
        f"models of kind {kind!r} come from no method of avcil ({', '.join(method_names())}). If it is your own, "
        "name its file first: in Python avcil.methods.registry.load_method('FILE.py'), at the command line "
        "avcil predict --method-file FILE.py"
    )


def _only_method(module: Any, name: str) -> type[Method]:
    from avcil.methods.base import Method

    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Method) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise InputError(
            f"{name} must define exactly one class deriving from Method; it defines {len(found)}"
        )
    return found[0]


def _import_file(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"there is no file {path} to load a method from")
    module_name = f"avcil_method_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{path} cannot be loaded as a method: {type(error).__name__}: {error}") from error
    return module


def parse_options(method: type[Method], settings: Sequence[str] | Mapping[str, Any], *, name: str) -> Any:
    """The method's options from `NAME=VALUE` words (or a mapping, from TOML), each checked by its type.

    Raises InputError for an option that the method does not have or a value that does not fit.
    """
    fields = {field.name: field for field in dataclasses.fields(method.Options)}
    hints = typing.get_type_hints(method.Options)
    if not isinstance(settings, Mapping):
        settings = dict(_split(word) for word in settings)
    values = {}
    for key, value in settings.items():
        key = key.replace("-", "_")
        if key in method.removed_options:
            _check_removed(name, key, value, method.removed_options[key])
            continue
        if key not in fields:
            if not fields:
                raise InputError(f"method {name} has no options; remove {key}={value}")
            raise unknown_name(f"option of method {name}", key, fields)
        values[key] = _convert(value, hints[key], f"option {key} of method {name}")
    return method.Options(**values)


def _check_removed(name: str, option: str, value: Any, harmless: Sequence[Any]) -> None:
    if str(value).lower() not in {str(allowed).lower() for allowed in harmless}:
        raise InputError(
            f"option {option} of method {name} was removed: {option}={value} has no effect any more. Leave it out, or "
            "train with avcil 0.1"
        )


def _split(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not equals:
        raise InputError(f"--set takes NAME=VALUE, not {word!r}; `avcil methods` lists names and values")
    return key, value


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
        raise InputError(f"{where} must be a number ({hint.__name__}); not {value!r}") from None
