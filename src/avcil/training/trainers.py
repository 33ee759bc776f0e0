"""The trainer of closed-form methods, and the choice of the trainer for a method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from avcil.encoders.parts import part_widths
from avcil.errors import AvcilError
from avcil.methods.base import ClosedFormMethod, GradientMethod
from avcil.methods.exemplars import ExemplarMemory
from avcil.methods.model import Model
from avcil.nn.token_rows import gathered
from avcil.runs.records import Epoch, StepSummary
from avcil.saved_models.learning_settings import LearningSettings
from avcil.training.data import Table
from avcil.training.gradient_trainer import GradientTrainer
from avcil.training.learning_data import LearningData
from avcil.training.trainer import Hooks, Trainer


class ClosedFormTrainer:
    """Adds the clips of each step to the statistics of a closed-form method, in one pass."""

    memory: ExemplarMemory | None = None
    selects_by_validation = False

    def __init__(self, method: ClosedFormMethod, data: LearningData, settings: LearningSettings) -> None:
        self.method, self.data, self.settings = method, data, settings
        self.method.seed = settings.seed
        self.method.part_widths = part_widths(data.store)
        shape = data.store.visual_shape
        widths = {"audio": data.store.audio_width, "visual": None if shape is None else shape[-1]}
        self.method.feature_widths = {name: width for name, width in widths.items() if width is not None}
        constants = {name: data.store.constants(name) for name in ("audio", "visual")}
        self.method.constants = {name: value for name, value in constants.items() if value is not None}

    def remove_classes(self, index: int) -> None:
        if rows := self.data.rows_to_forget(index):
            for table in self._tables(rows, once=True):
                for numbers, (audio, visual) in table.all():
                    self.method.forget(audio, gathered(visual), table.labels[numbers])
        removed = [self.data.class_number[label] for label in self.data.removed_at(index)]
        for number in sorted(removed, reverse=True):
            self.method.remove_class(number)
        self.data.begin_task(index)

    def train_step(self, index: int, hooks: Hooks) -> Model:
        model = self.fit(len(self.data.benchmark.steps[index]), self.data.rows("train", index))
        accuracy = hooks.validate(model)
        report = dict(sorted(self.method.report().items()))  # the same order with and without a restore
        hooks.summary = StepSummary(best_epoch=0, val_accuracy=accuracy, report=report)
        hooks.log(Epoch(step=index, epoch=0, losses={}, loss=None, val_accuracy=accuracy, report=report))
        hooks.notes = getattr(model, "notes", ())
        hooks.tick()
        return model

    def fit(self, new_classes: int, rows: Sequence[int]) -> Model:
        """Add the clips of some store rows, of which `new_classes` classes are new, and solve."""
        self.method.add_classes(new_classes)
        for table in self._tables(rows):
            for part, (audio, visual) in table.all():
                self.method.observe(audio, gathered(visual), table.labels[part])
        return self.method.solve()

    def _tables(self, rows: Sequence[int], *, once: bool = False) -> Iterator[Table]:
        """The features of store rows: a table for each group of clips that have the same modalities."""
        for modality, at in self.data.presence(rows).groups(self.data.modality).items():
            yield self.data.table([rows[i] for i in at], once=once, modality=modality)

    def tensors(self) -> dict[str, Tensor]:
        return self.method.tensors()

    def restore(
        self, index: int, tensors: dict[str, Tensor], exemplars: Mapping[str, Sequence[str]]
    ) -> Model:
        self.data.begin_task(index)
        self.method.load(tensors)
        return self.method.solve()


def make_trainer(
    method: Any,
    data: LearningData,
    settings: LearningSettings,
    memory: ExemplarMemory | None,
    **execution: Any,
) -> Trainer:
    """The trainer for a method; `execution` are further arguments of `GradientTrainer`."""
    if isinstance(method, GradientMethod):
        return GradientTrainer(method, data, settings, memory, **execution)
    if isinstance(method, ClosedFormMethod):
        return ClosedFormTrainer(method, data, settings)
    raise AvcilError(f"{type(method).__name__} derives from neither GradientMethod nor ClosedFormMethod")
