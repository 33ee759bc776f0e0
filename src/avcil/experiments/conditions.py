"""Conditions that a study compares for one method: numbers of exemplars and of classes per step."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from avcil.datasets.protocols import protocol
from avcil.errors import InputError
from avcil.experiments.config import ReproduceConfig
from avcil.experiments.datasets import Dataset
from avcil.experiments.studies import Study
from avcil.training.config import DEFAULT_EXEMPLARS_PER_CLASS


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Options of the runs of one row."""

    exemplars: dict[str, int] = field(default_factory=dict)
    """The option `exemplars` or `exemplars_per_class`; empty for the default."""
    exemplars_label: str = ""
    classes_per_step: int | None = None
    steps_label: str = ""

    def label(self, rehearses: bool) -> str:
        """Text for the row; without exemplars if the method stores none."""
        parts = (self.exemplars_label if rehearses else "", self.steps_label)
        return ", ".join(part for part in parts if part)


def make_conditions(config: ReproduceConfig, study: Study, dataset: Dataset) -> list[Condition]:
    """All combinations of the step sizes and numbers of exemplars given as options, or else by the study."""
    option, counts = _exemplar_counts(config, study, dataset)
    steps = _step_sizes(config, study, dataset)
    return [
        Condition(
            exemplars={} if count is None else {option: count},
            exemplars_label=f"{option.replace('_', ' ')} {count}" if len(counts) > 1 else "",
            classes_per_step=step,
            steps_label=f"{step} a step" if len(steps) > 1 else "",
        )
        for step, count in itertools.product(steps, counts)
    ]


def _exemplar_counts(config: ReproduceConfig, study: Study, dataset: Dataset) -> tuple[str, list[int | None]]:
    """The option, and its values; None is the default."""
    if config.exemplars_per_class:
        return "exemplars_per_class", list(config.exemplars_per_class)
    if config.exemplars or study.exemplars is None:
        return "exemplars", list(config.exemplars) or [None]
    default = DEFAULT_EXEMPLARS_PER_CLASS * dataset.classes
    if dataset.benchmark is not None:
        default = protocol(dataset.benchmark).exemplars
    return "exemplars", list(study.exemplars(default))


def _step_sizes(config: ReproduceConfig, study: Study, dataset: Dataset) -> list[int | None]:
    if not dataset.stream.kind.uses_steps:
        return [None]
    if config.classes_per_step or study.classes_per_step is None:
        return list(config.classes_per_step) or [None]
    if dataset.steps is not None:
        raise InputError(f"the study {config.study} divides the classes into steps itself: remove --steps")
    sizes: list[int | None] = list(study.classes_per_step(dataset.classes))
    if not sizes:
        raise InputError(
            f"the {dataset.classes} classes of {dataset.name} cannot be divided into equal steps: "
            "give --classes-per-step"
        )
    return sizes
