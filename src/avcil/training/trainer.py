"""The interface of trainers, which train a method step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from avcil.methods.exemplars import ExemplarMemory
from avcil.methods.model import Model
from avcil.runs.records import Epoch, StepProgress, StepSummary


class Trainer(Protocol):
    """Trains a method step by step."""

    memory: ExemplarMemory | None
    selects_by_validation: bool
    """Whether the weights of a step are selected by validation accuracy."""

    def remove_classes(self, index: int) -> None:
        """Remove the classes that step `index` removes; called before `train_step`."""
        ...

    def train_step(self, index: int, hooks: Hooks) -> Model:
        """Train step `index` and return the model."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """The checkpoint: everything that the next step needs."""
        ...

    def restore(
        self, index: int, tensors: dict[str, Tensor], exemplars: Mapping[str, Sequence[str]]
    ) -> Model:
        """Load the checkpoint of step `index` and return its model."""
        ...


@dataclass(kw_only=True)
class Hooks:
    """Callbacks of a trainer, and what it reports about the step."""

    validate: Callable[[Model], float | None] = lambda model: None
    """Accuracy on the validation clips of all classes seen; None without validation clips."""
    log: Callable[[Epoch], None] = lambda epoch: None
    """Called with the losses and the accuracy of each epoch."""
    save: Callable[[StepProgress], None] = lambda progress: None
    """Called with the progress when a checkpoint is due."""
    tick: Callable[[], object] = lambda: None
    """Called after each epoch."""
    progress: StepProgress | None = None
    """The progress of an interrupted step."""
    summary: StepSummary = field(default_factory=lambda: StepSummary(best_epoch=-1, val_accuracy=None))
    notes: tuple[str, ...] = ()
    """Remarks about the model for the user."""
