"""A benchmark: the classes of each step.

The seed of the class order, `class_order_seed`, is independent of the seed of training, so that several runs can have
the same order.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avcil.errors import InputError, unknown_name
from avcil.utils.csv_files import read_rows
from avcil.utils.files import read_json
from avcil.utils.listing import quoted

_EXPECTED_FORMAT = (
    'a JSON list of lists of class names, [["cat", "dog"], ["bell"]], or a CSV file with one row per step'
)


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Ordered steps of class names. Steps may differ in size; later steps of some streams have no new class.

    >>> benchmark = Benchmark.from_classes(["dog", "cat", "bell"], 2)
    >>> benchmark.steps
    (('bell', 'cat'), ('dog',))
    >>> benchmark.task_of("dog")
    1
    """

    name: str
    steps: tuple[tuple[str, ...], ...]
    class_order_seed: int | None = None
    """Seed that shuffled the classes; None for a given or natural order."""

    def __post_init__(self) -> None:
        steps = tuple(tuple(step) for step in self.steps)
        object.__setattr__(self, "steps", steps)
        if not steps:
            raise InputError(f"benchmark {self.name!r} has no step; give at least one step with one class")
        if not steps[0]:
            raise InputError(f"benchmark {self.name!r}: step 1 of {len(steps)} has no class; leave it out")
        for label in self.classes:
            if not isinstance(label, str) or not label.strip():
                raise InputError(
                    f"benchmark {self.name!r}: class names are text that is not empty, not {label!r}"
                )
        twice = [label for label, count in Counter(self.classes).items() if count > 1]
        if twice:
            raise InputError(
                f"benchmark {self.name!r}: each class belongs to exactly one step; given twice: {quoted(twice)}"
            )

    @classmethod
    def from_classes(
        cls,
        labels: Iterable[str],
        classes_per_step: int,
        class_order_seed: int | None = None,
        *,
        name: str = "own",
    ) -> Benchmark:
        """Steps of `classes_per_step` classes; the last one is smaller if the number is not divisible.

        Args:
            labels: The classes, in natural order ("clip 2" before "clip 10") unless they are shuffled.
            classes_per_step: Number of classes of each step.
            class_order_seed: Seed that shuffles the classes; None does not shuffle them.
            name: Name of the benchmark.
        """
        classes = sorted(set(labels), key=natural_key)
        return cls.from_ordered(classes, classes_per_step, class_order_seed, name=name)

    @classmethod
    def from_ordered(
        cls, classes: Sequence[str], classes_per_step: int, class_order_seed: int | None = None, *, name: str
    ) -> Benchmark:
        """Like `from_classes`, with classes in the given order or shuffled by `class_order_seed`."""
        if not 1 <= classes_per_step <= len(classes):
            raise InputError(
                f"--classes-per-step is {classes_per_step}, but there are {len(classes)} classes; "
                f"choose 1 to {len(classes)}"
            )
        if class_order_seed is not None:
            if class_order_seed < 0:
                raise InputError(f"--class-order-seed must be 0 or more, not {class_order_seed}")
            order = np.random.default_rng(class_order_seed).permutation(len(classes))
            classes = [classes[i] for i in order]
        starts = range(0, len(classes), classes_per_step)
        steps = tuple(tuple(classes[start : start + classes_per_step]) for start in starts)
        return cls(name=name, steps=steps, class_order_seed=class_order_seed)

    @classmethod
    def from_steps(cls, steps: Iterable[Iterable[str]], *, name: str = "own") -> Benchmark:
        """A benchmark with these steps; InputError if one of them is empty."""
        named = tuple(tuple(step) for step in steps)
        empty = [number for number, step in enumerate(named, 1) if not step]
        if empty:
            raise InputError(
                f"benchmark {name!r}: step {empty[0]} of {len(named)} has no class; leave it out"
            )
        return cls(name=name, steps=named)

    @classmethod
    def from_file(cls, path: str | Path) -> Benchmark:
        """Read the steps from a `.json` file, a list of lists of class names, or a `.csv` file, one row per step.

        In a CSV file, spaces around names are removed; names with such spaces need JSON.
        """
        path = Path(path)
        if path.suffix.lower() == ".json":
            steps = read_json(path)
        elif path.suffix.lower() == ".csv":
            rows = read_rows(path, strict=True)
            steps = [[label.strip() for label in row if label.strip()] for row in rows if any(row)]
        else:
            raise InputError(f"the steps file {path} must end in .json or .csv: {_EXPECTED_FORMAT}")
        if not isinstance(steps, list) or not all(isinstance(step, list) for step in steps):
            raise InputError(f"{path} does not contain steps; expected is {_EXPECTED_FORMAT}")
        return cls.from_steps(
            [[_class_name(label, path) for label in step] for step in steps], name=path.stem
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """All classes in the order of their steps."""
        return tuple(label for step in self.steps for label in step)

    def task_of(self, label: str) -> int:
        """The number of the step of a class, from 0."""
        for number, step in enumerate(self.steps):
            if label in step:
                return number
        raise unknown_name("class", label, self.classes)

    def check_classes(self, labels: Iterable[str], where: str) -> tuple[str, ...]:
        """Check that a store has all classes of the benchmark.

        Args:
            labels: The classes of the store.
            where: Name of the store in error messages.

        Returns:
            The other classes of the store, sorted.

        Raises:
            InputError: A class is missing.
        """
        present = set(labels)
        missing = [label for label in self.classes if label not in present]
        if missing:
            first = unknown_name("class", missing[0], present)
            more = f" ({len(missing)} classes of the benchmark are missing)" if len(missing) > 1 else ""
            raise InputError(f"{where} has no clip of a class of benchmark {self.name!r}: {first}{more}")
        return tuple(sorted(present - set(self.classes), key=natural_key))

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "name": self.name,
            "steps": [list(step) for step in self.steps],
            "class_order_seed": self.class_order_seed,
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Benchmark:
        """The inverse of `to_dict`; InputError for other values."""
        try:
            steps: Sequence[Sequence[str]] = value["steps"]
            return cls(
                name=value["name"],
                steps=tuple(tuple(step) for step in steps),
                class_order_seed=value["class_order_seed"],
            )
        except (KeyError, TypeError) as error:
            raise InputError(f"not a benchmark ({type(error).__name__}: {error}): {value!r}") from None


def _class_name(value: Any, path: Path) -> str:
    """A class name in a steps file. Classes are often whole numbers, written without quotes."""
    if type(value) is int:
        return str(value)
    if not isinstance(value, str):
        raise InputError(
            f"{path}: {json.dumps(value)} is not a class name. Put names in quotes, exactly as the folders of the "
            f"classes are named; expected is {_EXPECTED_FORMAT}"
        )
    return value


def natural_key(text: str) -> tuple[Any, ...]:
    """A sorting key that compares numbers inside names as numbers.

    >>> sorted(["clip 10", "clip 2"], key=natural_key)
    ['clip 2', 'clip 10']
    """
    parts = re.split(r"([0-9]+)", text)
    return tuple(int(part) if position % 2 else part.casefold() for position, part in enumerate(parts)), text
