"""Classes found by name: those of avcil, one per file, and those of other installed packages, by entry points.

A package registers a class in its pyproject.toml:

    [project.entry-points."avcil.methods"]
    my-method = "my_package.my_module:MyMethod"

Listing the names imports nothing. A class is imported when its name is used. Only registered names are ever imported,
so a name from an untrusted file, such as a saved model, cannot cause any other import.

Source: https://packaging.python.org/en/latest/specifications/entry-points/
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from avcil.errors import InputError

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class EntryPointGroup:
    """The classes that installed packages register in one group of entry points.

    Args:
        group: Name of the group, such as "avcil.methods".
        noun: What a class of the group is, for messages, such as "method".
        taken: Gives the names that avcil uses itself. An installed package cannot replace them.
    """

    def __init__(self, group: str, noun: str, *, taken: Callable[[], Collection[str]]) -> None:
        self.group, self.noun, self._taken = group, noun, taken

    def names(self) -> list[str]:
        """Names that can be used, sorted. A class may still fail to load."""
        return sorted(entry.name for entry in self._entries() if not self._objection(entry))

    def refused(self) -> list[str]:
        """For each entry point that cannot be used because of its name, which it is and why."""
        return [
            f"{self._title(entry)}: {why}" for entry in self._entries() if (why := self._objection(entry))
        ]

    def usable(self, names: Collection[str], load: Callable[[str], Any]) -> tuple[dict[str, Any], list[str]]:
        """Load all classes.

        Args:
            names: Names of avcil and of this group.
            load: Gives the class of a name.

        Returns:
            The classes by name, and for each that cannot be used, which it is and why.
        """
        objects, problems = {}, self.refused()
        for name in names:
            try:
                objects[name] = load(name)
            except InputError as error:
                problems.append(str(error))
        return objects, problems

    def described(self, name: str, summary: str) -> str:
        """The summary, with the package behind it if the name is one of this group."""
        return f"{summary} [package {self.package_of(name)}]" if name in self.names() else summary

    def package_of(self, name: str) -> str:
        """The package that registers a name, with its version, such as "my-package 1.0"."""
        return _package(self._entry(name))

    def load(self, name: str, base: type) -> Any:
        """Import the class that is registered under a name.

        Args:
            name: One of `names`.
            base: The class must be derived from this class, and its attribute `name` must be `name` if it has one.

        Raises:
            InputError: The import fails, or the object is not such a class. The message names the package.
        """
        entry = self._entry(name)
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
        return loaded

    def _entries(self) -> tuple[EntryPoint, ...]:
        return _entries(self.group, tuple(sys.path))

    def _entry(self, name: str) -> EntryPoint:
        return next(entry for entry in self._entries() if entry.name == name and not self._objection(entry))

    def _objection(self, entry: EntryPoint) -> str:
        """Why an entry point cannot be used; empty if it can."""
        if not NAME.fullmatch(entry.name):
            return 'the name must consist of lower-case letters and digits, with "-" between words'
        if entry.name in self._taken():
            return f"avcil has a {self.noun} of this name. Choose another name in the package"
        others = [other for other in self._entries() if other.name == entry.name and other is not entry]
        if others:
            return f"{_package(others[0])} registers the same name. Uninstall one of the two packages"
        return ""

    def _title(self, entry: EntryPoint) -> str:
        return f"{self.noun} {entry.name!r} of the package {_package(entry)} ({entry.value})"


def _package(entry: EntryPoint) -> str:
    return "unknown" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"


def module_names(folder: Path, others: Collection[str]) -> list[str]:
    """Names of the classes that avcil has in a folder, one per file: `some_name.py` is "some-name".

    Args:
        folder: A folder of modules; files whose names begin with "_" do not count.
        others: Further modules that do not count, without the suffix.
    """
    stems = (path.stem for path in folder.glob("*.py"))
    return sorted(stem.replace("_", "-") for stem in stems if stem not in others and not stem.startswith("_"))


def classes_of(module: Any, base: type) -> list[type]:
    """The classes that a module defines itself and that are derived from `base`."""
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
    ]


@cache
def _entries(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Entry points of a group; `path` is sys.path, on which the result depends."""
    return tuple(sorted(entry_points(group=group), key=lambda entry: (entry.name, _package(entry))))
