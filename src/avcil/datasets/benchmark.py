"""A benchmark: the classes of each step.

The order of classes has a seed of its own, `class_order_seed`, apart from the seed of training, so that
several trainings can share one order.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avcil.errors import InputError, unknown_name
from avcil.utils.files import read_json

FORMS = 'a JSON list of lists of class names, [["cat", "dog"], ["bell"]], or a CSV with one row a step'


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
            shown = ", ".join(map(repr, twice[:5]))
            raise InputError(
                f"benchmark {self.name!r}: each class belongs to exactly one step; given twice: {shown}"
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
        """Steps of `classes_per_step` classes, the last one is smaller if the number is not divisible.

        Classes come in natural order ("clip 2" before "clip 10"), or shuffled by `class_order_seed`.
        """
        classes = sorted(set(labels), key=natural_key)
        if classes_per_step < 1:
            raise InputError(f"--classes-per-step must be 1 or more, not {classes_per_step}")
        if classes_per_step > len(classes):
            raise InputError(
                f"--classes-per-step is {classes_per_step}, but there are {len(classes)} classes; "
                f"choose 1 to {len(classes)}"
            )
        if class_order_seed is not None:
            if class_order_seed < 0:
                raise InputError(f"--class-order-seed must be 0 or more, not {class_order_seed}")
            order = np.random.default_rng(class_order_seed).permutation(len(classes))
            classes = [classes[i] for i in order]
        steps = [tuple(classes[i : i + classes_per_step]) for i in range(0, len(classes), classes_per_step)]
        return cls(name=name, steps=tuple(steps), class_order_seed=class_order_seed)

    @classmethod
    def from_steps(cls, steps: Iterable[Iterable[str]], *, name: str = "own") -> Benchmark:
        """The steps as given."""
        named = tuple(tuple(step) for step in steps)
        empty = [number for number, step in enumerate(named, 1) if not step]
        if empty:
            raise InputError(
                f"benchmark {name!r}: step {empty[0]} of {len(named)} has no class; leave it out"
            )
        return cls(name=name, steps=named)

    @classmethod
    def from_file(cls, path: str | Path) -> Benchmark:
        """The steps of a file: `.json`, a list of lists of class names, or `.csv`, one row of names per step.

        Blanks around names in a CSV are cut off; classes whose names have such blanks need the JSON form.
        """
        path = Path(path)
        if path.suffix.lower() == ".json":
            steps = read_json(path)
        elif path.suffix.lower() == ".csv":
            steps = _csv_rows(path)
        else:
            raise InputError(f"the steps file {path} must end in .json or .csv: {FORMS}")
        if not isinstance(steps, list) or not all(isinstance(step, list) for step in steps):
            raise InputError(f"{path} does not contain steps; expected is {FORMS}")
        return cls.from_steps(
            [[_class_name(label, path) for label in step] for step in steps], name=path.stem
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """All classes in the order of their steps."""
        return tuple(label for step in self.steps for label in step)

    def task_of(self, label: str) -> int:
        """The number, from 0, of the step of a class."""
        for number, step in enumerate(self.steps):
            if label in step:
                return number
        raise unknown_name("class", label, self.classes)

    def check_classes(self, held: Iterable[str], where: str) -> tuple[str, ...]:
        """Check that the classes `held` by a store include all of the benchmark; return the others, sorted."""
        held = set(held)
        lacking = [label for label in self.classes if label not in held]
        if lacking:
            first = unknown_name("class", lacking[0], held)
            more = f" ({len(lacking)} classes of the benchmark are missing)" if len(lacking) > 1 else ""
            raise InputError(f"{where} has no clip of a class of benchmark {self.name!r}: {first}{more}")
        return tuple(sorted(held - set(self.classes), key=natural_key))

    def restricted_to(self, labels: Iterable[str]) -> Benchmark:
        """The benchmark restricted to the classes in `labels`; empty steps are dropped."""
        remaining = set(labels)
        for label in sorted(remaining):
            self.task_of(label)
        steps = [tuple(label for label in step if label in remaining) for step in self.steps]
        return Benchmark(
            name=self.name,
            steps=tuple(step for step in steps if step),
            class_order_seed=self.class_order_seed,
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "name": self.name,
            "steps": [list(step) for step in self.steps],
            "class_order_seed": self.class_order_seed,
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Benchmark:
        """The benchmark that `to_dict` gave."""
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
    """A class name of a steps file; classes are often named by whole numbers, written without quotes."""
    if type(value) is int:
        return str(value)
    if not isinstance(value, str):
        raise InputError(
            f"{path}: {json.dumps(value)} is not a class name. Put names in quotes, exactly as the folders of the "
            f"classes are named; expected is {FORMS}"
        )
    return value


def natural_key(text: str) -> tuple[Any, ...]:
    """A sorting key that compares numbers inside names as numbers.

    >>> sorted(["clip 10", "clip 2"], key=natural_key)
    ['clip 2', 'clip 10']
    """
    parts = re.split(r"([0-9]+)", text)
    return tuple(int(part) if position % 2 else part.casefold() for position, part in enumerate(parts)), text


def _csv_rows(path: Path) -> list[list[str]]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except FileNotFoundError:
        raise InputError(f"there is no steps file {path}") from None
    except (UnicodeDecodeError, csv.Error, IsADirectoryError) as error:
        raise InputError(f"{path} is not a CSV in UTF-8: {error}") from None
    return [[label.strip() for label in row if label.strip()] for row in rows if any(row)]
