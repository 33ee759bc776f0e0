"""The settings that determine the result of one training step, in a run or in an update of a saved model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from avcil.data.modality import Modality
from avcil.errors import InputError
from avcil.methods.base import Method
from avcil.methods.exemplars import ExemplarMemory
from avcil.methods.registry import parse_options
from avcil.utils import checks

_COUNTS = ("epochs", "batch_size", "exemplar_batch_size")
_PRECISIONS = ("float32", "bfloat16", "float64")
_SELECTIONS = ("best", "last")
RENAMED = {"memory": "exemplars", "memory_per_class": "exemplars_per_class"}
"""Earlier names of settings in saved files, and the current ones."""


@dataclass(frozen=True, kw_only=True)
class LearningSettings:
    """How a model was trained. The names are the keys in config.json of a run and in learning.json of a model."""

    method: str
    """Name of the method, or the Python file that defines it."""
    method_options: Mapping[str, Any]
    modality: Modality
    seed: int
    exemplars: int | None = None
    """Total number of exemplars; at most one of this and `exemplars_per_class` is given."""
    exemplars_per_class: int | None = None
    """Number of exemplars per class."""
    epochs: int
    batch_size: int
    exemplar_batch_size: int
    learning_rate: float
    weight_decay: float
    precision: str | None = None
    drop_last: bool = True
    """Whether the incomplete last batch of an epoch is dropped; streams with one pass keep it."""
    selection: str
    """The epoch whose weights are used at the end of a step: "best" or "last"."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON. `drop_last` is present only if it is False, so that files of earlier versions compare equal."""
        value = asdict(self) | {"modality": str(self.modality)}
        if self.drop_last:
            del value["drop_last"]
        return value

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> LearningSettings:
        """Inverse of `to_dict`; other entries are ignored.

        Raises:
            InputError: A setting is missing or invalid.
        """
        value = {RENAMED.get(name, name): setting for name, setting in value.items()}
        modality = Modality(checks.choice(value, "modality", tuple(Modality)))
        checks.choice(value, "selection", _SELECTIONS)
        checks.whole_number(value, "seed", most=2**63 - 1)
        for name in _COUNTS:
            checks.whole_number(value, name, least=1)
        for name in ("learning_rate", "weight_decay"):
            if not 0 <= checks.number(value, name) < math.inf:
                raise InputError(f"{name} is {value[name]}; it must be finite and 0 or more")
        if value.get("precision") is not None:
            checks.choice(value, "precision", _PRECISIONS)
        for name in ("exemplars", "exemplars_per_class"):
            if value.get(name) is not None:
                checks.whole_number(value, name, least=1, most=2**40)
        checks.typed(value, "method", str)
        checks.typed(value, "method_options", dict)
        value.setdefault("drop_last", True)
        checks.typed(value, "drop_last", bool)
        checked: dict[str, Any] = {field.name: value.get(field.name) for field in fields(cls)}
        return cls(**checked | {"modality": modality})

    def for_update(self) -> LearningSettings:
        """The settings of an update, which ends with its last epoch, because a model has no validation clips."""
        return replace(self, selection="last")

    def options(self, method_class: type[Method]) -> Any:
        """The options of the method, checked."""
        return parse_options(method_class, self.method_options, name=self.method)

    def new_memory(self, classes: int) -> ExemplarMemory:
        """An empty exemplar memory for a number of classes.

        Raises:
            InputError: The settings have no size, or one that is too small for the classes.
        """
        if (self.exemplars is None) == (self.exemplars_per_class is None):
            raise InputError("the settings must have one of exemplars and exemplars_per_class")
        memory = ExemplarMemory(total=self.exemplars, per_class=self.exemplars_per_class)
        memory.quota(classes)
        return memory
