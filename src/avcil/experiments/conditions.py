"""What rows of one method may differ in: the memory and the number of classes a step."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from avcil.datasets.protocols import protocol
from avcil.errors import InputError
from avcil.experiments.config import ReproduceConfig
from avcil.experiments.datasets import Dataset
from avcil.experiments.studies import Study
from avcil.training.config import DEFAULT_MEMORY_PER_CLASS


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What rows of one entry may differ in."""

    memory: dict[str, int] = field(default_factory=dict)
    memory_label: str = ""
    classes_per_step: int | None = None
    steps_label: str = ""

    def label(self, rehearses: bool) -> str:
        """For people; a memory says nothing of a method that has none."""
        parts = (self.memory_label if rehearses else "", self.steps_label)
        return ", ".join(part for part in parts if part)


def make_conditions(config: ReproduceConfig, study: Study, dataset: Dataset) -> list[Condition]:
    """Every step size with every memory that the command, or else the study, names."""
    kind, memories = _memories(config, study, dataset)
    steps = _step_sizes(config, study, dataset)
    return [
        Condition(
            memory={} if size is None else {kind: size},
            memory_label=f"{kind.replace('_', ' ')} {size}" if len(memories) > 1 else "",
            classes_per_step=step,
            steps_label=f"{step} a step" if len(steps) > 1 else "",
        )
        for step, size in itertools.product(steps, memories)
    ]


def _memories(config: ReproduceConfig, study: Study, dataset: Dataset) -> tuple[str, list[int | None]]:
    if config.exemplars_per_class:
        return "exemplars_per_class", list(config.exemplars_per_class)
    if config.exemplars or study.memory is None:
        return "exemplars", list(config.exemplars) or [None]
    usual = DEFAULT_MEMORY_PER_CLASS * dataset.classes
    if dataset.benchmark is not None:
        usual = protocol(dataset.benchmark).memory
    return "exemplars", list(study.memory(usual))


def _step_sizes(config: ReproduceConfig, study: Study, dataset: Dataset) -> list[int | None]:
    if config.classes_per_step or study.classes_per_step is None:
        return list(config.classes_per_step) or [None]
    if dataset.steps is not None:
        raise InputError(f"the study {config.study} cuts the classes into steps itself: drop --steps")
    sizes: list[int | None] = list(study.classes_per_step(dataset.classes))
    if not sizes:
        raise InputError(
            f"{dataset.classes} classes of {dataset.name} cannot be cut into equal steps: "
            "give --classes-per-step"
        )
    return sizes
