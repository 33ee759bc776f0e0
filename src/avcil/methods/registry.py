"""Methods by name: those of avcil, those of installed packages, and those in a Python file that the user names.

A file `methods/some_name.py` is the method `some-name`. Installed packages register methods as entry points of the
group `avcil.methods` (docs/adding-a-method.md).
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib.util
import inspect
import sys
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avcil.errors import InputError
from avcil.utils.class_registry import ClassRegistry
from avcil.utils.options import fill_options, split_settings

if TYPE_CHECKING:
    from avcil.methods.base import ClosedFormMethod, Method

RENAMED = {
    "whole_tokens": "needs_all_tokens",
    "fresh_start": "trains_from_scratch",
    "recalls_maps": "uses_teacher_attention",
    "keeps_exemplar_state": "stores_exemplar_data",
    "remember": "update_exemplar_data",
}
"""Attributes of methods written for version 0.1, with their present names. Ignoring them would change the training."""
FILE_MODULE = "avcil_method_"
"""Beginning of the names of modules that `load_method` imports from files."""
_SIMILARITY = 0.85
"""Similarity (difflib) from which an attribute of a method is taken for a misspelled one."""
_FROM_FILES: dict[str, type[ClosedFormMethod]] = {}
"""Methods that `load_method` loaded from files, by name."""


def _check_class(method: type[Method], name: str) -> None:
    """Refuse a class that does not define what a method needs, misspelled attributes, and values that are not allowed.

    Without effect, a misspelled attribute would change the training.
    """
    where = f"{name}: {method.__name__}"
    if old := [attribute for attribute in RENAMED if attribute in vars(method)]:
        raise InputError(
            f"{where}.{old[0]} is now called {RENAMED[old[0]]} (docs/adding-a-method.md). Rename it"
        )
    missing = [text for text in ("name", "summary") if not isinstance(getattr(method, text, None), str)]
    if missing := [*missing, *sorted(method.__abstractmethods__)]:
        raise InputError(f"{where} must define {', '.join(missing)} (docs/adding-a-method.md)")
    if not (isinstance(method.Options, type) and dataclasses.is_dataclass(method.Options)):
        raise InputError(
            f"{where}.Options must be a dataclass: put @dataclass(frozen=True, kw_only=True) above it"
        )
    allowed_values = _allowed_values(method)
    for attribute, value in vars(method).items():
        if attribute.startswith("_") or callable(value) or hasattr(method.__base__, attribute):
            continue
        if similar := difflib.get_close_matches(attribute, allowed_values, n=1, cutoff=_SIMILARITY):
            raise InputError(
                f"{where}.{attribute} has no meaning; did you mean {similar[0]}? (docs/adding-a-method.md)"
            )
    for attribute, allowed in allowed_values.items():
        value = inspect.getattr_static(method, attribute)
        if isinstance(value, property | functools.cached_property):  # depends on an option
            continue
        if attribute == "modalities" and (
            isinstance(value, str) or not isinstance(value, Sequence) or not value
        ):
            raise InputError(f'{where}.modalities must be a tuple, such as ("audio",); not {value!r}')
        values = value if attribute == "modalities" else [value]
        if wrong := [one for one in values if one not in allowed]:
            raise InputError(
                f"{where}.{attribute} must be one of {', '.join(map(repr, allowed))}; not {wrong[0]!r}"
            )


def _allowed_values(method: type[Method]) -> dict[str, tuple[Any, ...]]:
    """The values that attributes of a method may have, by name, from the annotations of the base classes."""
    from avcil.methods import base

    allowed: dict[str, tuple[Any, ...]] = {"modalities": tuple(map(str, base.Modality))}
    kinds = [
        kind for kind in (base.Method, base.GradientMethod, base.ClosedFormMethod) if issubclass(method, kind)
    ]
    for kind in kinds:
        hints = typing.get_type_hints(kind)
        for name, value in vars(kind).items():
            hint = (
                typing.get_type_hints(value.fget)["return"]
                if isinstance(value, property)
                else hints.get(name)
            )
            hint = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.ClassVar else hint
            if typing.get_origin(hint) is typing.Literal:
                allowed[name] = typing.get_args(hint)
            elif hint is bool:
                allowed[name] = (False, True)
    return allowed


METHODS = ClassRegistry(
    package="avcil.methods",
    folder=Path(__file__).parent,
    others={"base", "exemplars", "model", "registry", "step"},
    noun="method",
    base="Method",
    check=_check_class,
)


def method_names() -> list[str]:
    """Names of the methods of avcil and of installed packages; imports no method."""
    return METHODS.names()


def load_method(name: str) -> type[Method]:
    """The class of a method.

    Args:
        name: Name of a method of avcil or of an installed package, or the path of a Python file with one method.

    Raises:
        InputError: There is no such method, or its code cannot be loaded.
    """
    from avcil.methods.base import ClosedFormMethod

    is_file = name.endswith(".py")
    method: type[Method] = (
        METHODS.only_class(_import_file(Path(name)), name) if is_file else METHODS.load(name)
    )
    if is_file and issubclass(method, ClosedFormMethod):
        if method.name in method_names():  # saved models would be loaded with the other method
            raise InputError(f"{name}: the name {method.name} is used by another method. Choose another name")
        _FROM_FILES[method.name] = method
    return method


def method_of_kind(kind: str) -> type[Method]:
    """The method whose models are of `kind`: of avcil, of an installed package, or of a file given to `load_method`.

    `kind` comes from a model's folder, which is not trusted. It is only compared with known names, so it can cause
    imports only of methods of avcil and of registered entry points.

    Raises:
        InputError: No known method has this name.
    """
    if kind in method_names():
        return load_method(kind)
    if kind in _FROM_FILES:
        return _FROM_FILES[kind]
    raise InputError(
        f"models of kind {kind!r} come from no method of avcil or of an installed package "
        f"({', '.join(method_names())}). If a package has the method, install it. If the method is in a file of "
        "your own, name the file first: in Python avcil.methods.registry.load_method('FILE.py'), at the command line "
        "avcil predict --method-file FILE.py"
    )


def _import_file(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"there is no file {path} to load a method from")
    module_name = f"{FILE_MODULE}{path.stem}"
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
    """Parse and check the options of a method, from `NAME=VALUE` words or a mapping (TOML).

    Raises InputError for an option that the method does not have or a value that does not fit.
    """
    if not isinstance(settings, Mapping):
        settings = split_settings(settings, "--set takes NAME=VALUE (`avcil methods NAME` shows them)")
    values = {}
    for key, value in settings.items():
        option = key.replace("-", "_")
        option = method.renamed_options.get(option, option)
        if option in method.removed_options:
            _check_removed(name, option, value, method.removed_options[option])
        else:
            values[option] = value
    return fill_options(method.Options, values, owner=f"method {name}")


def _check_removed(name: str, option: str, value: Any, harmless: Sequence[Any]) -> None:
    if str(value).lower() not in {str(allowed).lower() for allowed in harmless}:
        raise InputError(
            f"option {option} of method {name} was removed: {option}={value} has no effect any more. Leave it out, or "
            "train with avcil 0.1"
        )
