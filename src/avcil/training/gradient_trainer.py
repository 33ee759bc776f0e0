"""Trains the network of a gradient method step by step, and selects its exemplars."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.errors import AvcilError
from avcil.methods.base import GradientMethod
from avcil.methods.exemplars import ExemplarMemory, choose_again, choose_by_herding, choose_random
from avcil.methods.model import Model
from avcil.methods.step import Step
from avcil.nn.network import Network
from avcil.runs.records import StepSummary
from avcil.saved_models.learning_settings import LearningSettings
from avcil.training.data import Table
from avcil.training.distributed import ProcessGroup
from avcil.training.gradient import StepTrainer
from avcil.training.learning_data import LearningData
from avcil.training.memory_pool import Budget
from avcil.training.teacher import CachedTeacher
from avcil.training.trainer import Hooks
from avcil.utils.rng import generator, seeded
from avcil.utils.tensor_names import add_prefix, strip_prefix

METHOD_STATE = "method"
"""Prefix of the tensors that belong to a gradient method, in checkpoints and saved models."""


class GradientTrainer:
    """Trains a network by gradient descent and selects exemplars."""

    def __init__(
        self,
        method: GradientMethod,
        data: LearningData,
        settings: LearningSettings,
        memory: ExemplarMemory | None,
        *,
        teacher_cache: str = "auto",
        checkpoint_seconds: float = math.inf,
        clips_at_once: int | None = None,
        process_group: ProcessGroup | None = None,
    ) -> None:
        self.method, self.data, self.settings, self.memory = method, data, settings, memory
        self.teacher_cache, self.checkpoint_seconds = teacher_cache, checkpoint_seconds
        self.clips_at_once, self.process_group = clips_at_once, process_group or ProcessGroup()
        self.selects_by_validation = settings.selection == "best"
        self.network = self._new_network(0)

    def _new_network(self, index: int) -> Network:
        store = self.data.store
        widths = {"audio_width": store.audio_width or 0, "visual_width": (store.visual_shape or (0, 0, 0))[2]}
        with seeded(self.settings.seed, "network", index):
            head = self.method.build_head(Network.feature_width(self.data.modality, **widths))
            network = Network(self.data.modality, head=head, **widths)
        return network.to(self.data.device_config.device, self.data.device_config.weights)

    def _task_sizes(self, index: int) -> tuple[int, ...]:
        return tuple(len(step) for step in self.data.benchmark.steps[: index + 1])

    def remove_classes(self, index: int) -> None:
        if self.data.removed_at(index):
            raise AvcilError(f"method {self.method.name} cannot forget a class")

    def train_step(self, index: int, hooks: Hooks) -> Model:
        step = self._begin(index)
        trainer = StepTrainer(
            self.method,
            step,
            self.settings,
            replace(hooks, validate=lambda _: self._validation_accuracy(index, hooks)),
            checkpoint_seconds=self.checkpoint_seconds,
            clips_at_once=self.clips_at_once,
            process_group=self.process_group,
        )
        done = trainer.run()
        self.network.eval()
        self.method.end_step(step)
        self.process_group.assert_in_sync(self.network.state_dict().values(), "weights")
        hooks.summary = StepSummary(
            best_epoch=done.best_epoch, val_accuracy=done.best_accuracy, report=self.method.report()
        )
        if self.memory is not None:
            self._choose_exemplars(index)
            self._update_exemplar_data(step)
        if self.method.classifier == "nearest-mean":
            self.network.class_means = self._exemplar_means()
        return self.network

    def _begin(self, index: int) -> Step:
        sizes, data = self._task_sizes(index), self.data
        new = data.rows("train", index)
        old: list[int] = []
        if self.method.batching == "all":
            old = [row for task in range(index) for row in data.rows("train", task)]
        elif self.memory is not None:
            old = data.rows_of_ids(self._exemplar_ids())
        pool = data.table(new + old)
        teacher = None
        if index and self.method.uses_teacher:
            teacher = self._teacher(pool, new_count=len(new))
        if self.method.trains_from_scratch:
            self.network = self._new_network(index)
        self.network.use_head()
        self._grow_head(index)
        step = Step(
            index=index,
            task_sizes=sizes,
            network=self.network,
            teacher=teacher,
            pool=pool,
            new_count=len(new),
            seed=self.settings.seed,
            next_exemplars=self._next_exemplar_rows(index, new + old),
        )
        self.method.begin_step(step)
        rows = torch.tensor(new + old, dtype=torch.float64, device=pool.labels.device)
        self.process_group.assert_in_sync([rows], "training clips and exemplars")
        self.process_group.assert_in_sync(self.network.state_dict().values(), "weights")
        return step

    def _grow_head(self, index: int) -> None:
        """Add the classes up to step `index` that the head does not have yet."""
        if count := sum(self._task_sizes(index)) - self.network.classes:
            with seeded(self.settings.seed, "head", index):
                self.network.head.add_classes(count)

    def _teacher(self, pool: Table, *, new_count: int) -> CachedTeacher:
        data, cache = self.data, self.teacher_cache
        return CachedTeacher(
            self.network,
            pool,
            new_count=new_count,
            budget=Budget.host_only(0) if cache == "none" else data.budget,
            scratch=data.scratch if cache == "auto" else None,
        )

    def _validation_accuracy(self, index: int, hooks: Hooks) -> float | None:
        """Validation accuracy of the current network, with the classifier that the method selects for it."""
        network = self.network.eval()
        if not self.method.validates_by_means:
            return hooks.validate(network)
        with self._exemplars_if_step_ended(index):
            network.class_means = self._exemplar_means()
            accuracy = hooks.validate(network)
        network.class_means = None
        return accuracy

    @contextmanager
    def _exemplars_if_step_ended(self, index: int) -> Iterator[None]:
        """Temporarily set the exemplars to those that would be selected if the step ended now."""
        assert self.memory is not None
        before = {label: list(ids) for label, ids in self.memory.clip_ids.items()}
        try:
            self._choose_exemplars(index)
            yield
        finally:
            self.memory.clip_ids = before

    def _next_exemplar_rows(self, index: int, pool: list[int]) -> Tensor | None:
        """Positions in `pool` (store rows) of the clips that are exemplars after the step; None if not known yet."""
        if self.memory is None or self.method.rehearsal != "random":
            return None
        with self._exemplars_if_step_ended(index):
            exemplars = self.data.rows_of_ids(self._exemplar_ids())
        position = {row: number for number, row in enumerate(pool)}
        return torch.tensor([position[row] for row in exemplars], dtype=torch.int64)

    def _exemplar_ids(self) -> list[str]:
        """Exemplars of all classes, in the order of the next step's pool."""
        assert self.memory is not None
        classes = self.data.benchmark.classes
        return [clip_id for label in classes for clip_id in self.memory.clip_ids.get(label, [])]

    def _update_exemplar_data(self, step: Step) -> None:
        """Call `update_exemplar_data` of the method for the exemplars that were just selected."""
        if not self.method.stores_exemplar_data:
            return
        ids = self._exemplar_ids()
        rows = step.pool.rows_of_store[step.new_count :].tolist()
        before = {self.data.store.clips[row].clip_id: number for number, row in enumerate(rows)}
        previous = torch.tensor([before.get(clip_id, -1) for clip_id in ids], dtype=torch.int64)
        self.method.update_exemplar_data(self.network, self.data.table(self.data.rows_of_ids(ids)), previous)

    def _choose_exemplars(self, index: int) -> None:
        """Reduce the exemplars of the old classes, then select those of the step's classes.

        For a class that was seen before, they are selected among the old exemplars and the new clips.
        """
        assert self.memory is not None
        quota = self.memory.quota(sum(self._task_sizes(index)))
        self.memory.shrink(quota)
        rows = self.data.rows("train", index)
        clips = self.data.store.clips
        for label in dict.fromkeys([*self.data.benchmark.steps[index], *(clips[row].label for row in rows)]):
            old = self.data.rows_of_ids(list(dict.fromkeys(self.memory.clip_ids.get(label, []))))
            new = [row for row in rows if clips[row].label == label]
            candidates = [*old, *new]
            if self.method.rehearsal == "herding":
                features = self._features(self.data.table(candidates))
                chosen = choose_by_herding(features, quota, repeats=self.method.herding_repeats)
            elif old:
                draw = generator(self.settings.seed, "exemplars", label, index)
                seen = self.data.clips_before(label, index)
                chosen = choose_again(len(old), len(new), quota, seen=seen, generator=draw)
            else:
                draw = generator(self.settings.seed, "exemplars", label)
                chosen = choose_random(len(candidates), quota, generator=draw)
            self.memory.clip_ids[label] = [clips[candidates[position]].clip_id for position in chosen]

    def _features(self, table: Table) -> Tensor:
        """h (n, D) of a table's clips, on the CPU."""
        with torch.no_grad():
            return torch.cat([self.network(*features).feature.cpu() for _, features in table.all()])

    def _exemplar_means(self) -> Tensor:
        """(K, D), mean of the normalized features of the exemplars of each class."""
        assert self.memory is not None
        means = []
        for label in self.data.benchmark.classes[: self.network.classes]:
            table = self.data.table(self.data.rows_of_ids(self.memory.clip_ids[label]))
            means.append(F.normalize(self._features(table), dim=1).mean(dim=0))
        return torch.stack(means).to(self.data.device_config.device)

    def tensors(self) -> dict[str, Tensor]:
        return self.network.tensors() | self.method_tensors()

    def method_tensors(self) -> dict[str, Tensor]:
        """The tensors that belong to the method, with a prefix."""
        return add_prefix(METHOD_STATE, self.method.tensors())

    def restore(
        self, index: int, tensors: dict[str, Tensor], exemplars: Mapping[str, Sequence[str]]
    ) -> Model:
        self._grow_head(index)
        of_method = strip_prefix(METHOD_STATE, tensors)
        self.network.load_tensors(
            {name: tensors[name] for name in tensors.keys() - add_prefix(METHOD_STATE, of_method).keys()}
        )
        self.network.eval()
        self.method.load(of_method)
        if self.memory is not None:
            self.memory.clip_ids = {label: list(ids) for label, ids in exemplars.items()}
        return self.network
