"""Classes found by name: those of avcil, one per file, and those of other installed packages, by entry points.

A package registers a class in its pyproject.toml:

    [project.entry-points."avcil.methods"]
    my-method = "my_package.my_module:MyMethod"

Listing the names imports nothing. A class is imported when its name is used. Only registered names are ever imported,
so a name from an untrusted file, such as a saved model, cannot cause any other import.

Source: https://packaging.python.org/en/latest/specifications/entry-points/
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from avcil.errors import InputError, unknown_name

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, kw_only=True)
class ClassRegistry:
    """The classes of a package of avcil, and those that installed packages register as entry points."""

    package: str
    """Name of the package and of the group of entry points, such as "avcil.methods"."""
    folder: Path
    """Its folder. A file `some_name.py` has the class "some-name"; files that begin with "_" do not count."""
    others: Collection[str]
    """Further modules without such a class."""
    noun: str
    """What a class is, for messages, such as "method"."""
    base: str
    """Name of the base class, in the module `base` of the package."""
    check: Callable[[Any, str], None] = lambda found, name: None
    """Called with a class and its name; raises InputError if it cannot be used."""

    def builtin_names(self) -> list[str]:
        """Names of the classes that come with avcil, sorted; imports none of them."""
        names = (stem for stem in _stems(self.folder) if stem not in self.others and not stem.startswith("_"))
        return sorted(name.replace("_", "-") for name in names)

    def installed_names(self) -> list[str]:
        """Names of the classes of installed packages, sorted. A class may still fail to load."""
        return sorted(entry.name for entry in self._entries() if not self._objection(entry))

    def names(self) -> list[str]:
        """All names, sorted; imports no class."""
        return sorted([*self.builtin_names(), *self.installed_names()])

    def load(self, name: str) -> Any:
        """Import the class with this name.

        Raises:
            InputError: There is none, the import fails, or the object is not such a class. The message names the
                package that registers it.
        """
        if name in self.builtin_names():
            module = importlib.import_module(f"{self.package}.{name.replace('-', '_')}")
            return self.only_class(module, name)
        if name not in self.installed_names():
            raise unknown_name(self.noun, name, self.names())
        return self._load(self._entry(name), name)

    def usable(self) -> tuple[dict[str, Any], list[str]]:
        """All classes by name, and for each that cannot be used, which it is and why."""
        classes = {}
        problems = [
            f"{self._title(entry)}: {why}" for entry in self._entries() if (why := self._objection(entry))
        ]
        for name in self.names():
            try:
                classes[name] = self.load(name)
            except InputError as error:
                problems.append(str(error))
        return classes, problems

    def only_class(self, module: Any, name: str) -> Any:
        """The class that a module defines; InputError, beginning with `name`, unless it is exactly one."""
        base = self._base_class()
        classes = [
            value
            for value in vars(module).values()
            if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
        ]
        if len(classes) != 1:
            raise InputError(
                f"{name} must define exactly one class deriving from {base.__name__}; it defines {len(classes)}"
            )
        self.check(classes[0], name)
        return classes[0]

    def _base_class(self) -> type:
        base: type = getattr(importlib.import_module(f"{self.package}.base"), self.base)
        return base

    def described(self, name: str, summary: str) -> str:
        """The summary, with the package behind it if the name is not one of avcil."""
        return f"{summary} [package {self.package_of(name)}]" if name in self.installed_names() else summary

    def package_of(self, name: str) -> str:
        """The package that registers a name, with its version, such as "my-package 1.0"."""
        return _package(self._entry(name))

    def _load(self, entry: EntryPoint, name: str) -> Any:
        """Import a class of an installed package; its attribute `name` must be `name` if it has one."""
        base = self._base_class()
        try:
            loaded = entry.load()
        except Exception as error:  # the code of the package may raise anything
            raise InputError(
                f"{self._title(entry)} cannot be loaded: {type(error).__name__}: {error}. Repair or uninstall the "
                "package"
            ) from error
        if not (isinstance(loaded, type) and issubclass(loaded, base)):
            raise InputError(
                f"{self._title(entry)} is not a class derived from {base.__module__}.{base.__name__}"
            )
        own_name = getattr(loaded, "name", name)
        if own_name != name:
            raise InputError(
                f"{self._title(entry)}: the attribute name of the class is {own_name!r}; it must be {name!r}, as in "
                "the entry point"
            )
        self.check(loaded, name)
        return loaded

    def _entries(self) -> tuple[EntryPoint, ...]:
        return _entries(self.package, tuple(sys.path))

    def _entry(self, name: str) -> EntryPoint:
        return next(entry for entry in self._entries() if entry.name == name and not self._objection(entry))

    def _objection(self, entry: EntryPoint) -> str:
        """Why an entry point cannot be used; empty if it can."""
        if not NAME.fullmatch(entry.name):
            return 'the name must consist of lower-case letters and digits, with "-" between words'
        if entry.name in self.builtin_names():
            return f"avcil has a {self.noun} of this name. Choose another name in the package"
        others = [other for other in self._entries() if other.name == entry.name and other is not entry]
        if others:
            return f"{_package(others[0])} registers the same name. Uninstall one of the two packages"
        return ""

    def _title(self, entry: EntryPoint) -> str:
        return f"{self.noun} {entry.name!r} of the package {_package(entry)} ({entry.value})"


def _package(entry: EntryPoint) -> str:
    return "unknown" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"


@cache
def _stems(folder: Path) -> tuple[str, ...]:
    return tuple(path.stem for path in folder.glob("*.py"))


@cache
def _entries(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Entry points of a group; `path` is sys.path, on which the result depends."""
    return tuple(sorted(entry_points(group=group), key=lambda entry: (entry.name, _package(entry))))
