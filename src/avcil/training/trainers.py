"""How each kind of method takes in one step: by gradient, or in closed form.

Both answer the same calls, so that the run around them need not know which it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.encoders.parts import part_widths
from avcil.errors import AvcilError
from avcil.methods.base import ClosedFormMethod, GradientMethod, Step
from avcil.methods.exemplars import ExemplarMemory, choose_again, choose_by_herding, choose_random
from avcil.models.base import Model
from avcil.nn.network import Network
from avcil.nn.token_rows import gathered
from avcil.runs.records import Epoch, StepProgress, StepSummary
from avcil.saved_models.learning_settings import LearningSettings
from avcil.training.data import Table
from avcil.training.distributed import ProcessGroup
from avcil.training.gradient import StepTrainer
from avcil.training.learning_data import LearningData
from avcil.training.memory_pool import Budget
from avcil.training.teacher import Teacher
from avcil.utils.rng import generator, seeded

METHOD_STATE = "method."
"""Before the names of a gradient method's own tensors, in checkpoints and saved models."""


def method_state(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A gradient method's own tensors, by its names for them."""
    return {n.removeprefix(METHOD_STATE): t for n, t in tensors.items() if n.startswith(METHOD_STATE)}


class Learner(Protocol):
    """What a run needs of a method at work."""

    memory: ExemplarMemory | None
    validation_chooses: bool
    """Whether accuracy on validation clips decides what is learnt."""

    def remove_classes(self, index: int) -> None:
        """Forget the classes that step `index` removes; called before `learn`."""
        ...

    def learn(self, index: int, hooks: Hooks) -> Model:
        """Take in step `index` and return the model that answers from now on."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Everything the next step needs of this one."""
        ...

    def restore(
        self, index: int, tensors: dict[str, Tensor], exemplars: Mapping[str, Sequence[str]]
    ) -> Model:
        """Stand where step `index` ended."""
        ...


class Hooks:
    """What a learner tells the run while it learns."""

    def __init__(
        self,
        *,
        validate: Callable[[Model], float | None],
        log: Callable[[Epoch], None],
        save: Callable[[StepProgress], None],
        tick: Callable[[], object],
        progress: StepProgress | None,
    ) -> None:
        self.validate, self.log, self.save, self.tick, self.progress = validate, log, save, tick, progress
        self.summary = StepSummary(best_epoch=-1, val_accuracy=None)
        self.notes: tuple[str, ...] = ()
        """What a user should know of the model."""


class GradientLearner:
    """A network, its method, and its exemplars."""

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
        team: ProcessGroup | None = None,
    ) -> None:
        self.method, self.data, self.settings, self.memory = method, data, settings, memory
        self.teacher_cache, self.checkpoint_seconds = teacher_cache, checkpoint_seconds
        self.clips_at_once, self.team = clips_at_once, team or ProcessGroup()
        self.validation_chooses = settings.selection == "best"
        self.network = self._fresh_network(0)

    def _fresh_network(self, index: int) -> Network:
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

    def learn(self, index: int, hooks: Hooks) -> Model:
        step = self._begin(index)
        trainer = StepTrainer(
            self.method,
            step,
            self.settings,
            validate=lambda: self._validated(index, hooks),
            log=hooks.log,
            save=hooks.save,
            tick=hooks.tick,
            checkpoint_seconds=self.checkpoint_seconds,
            clips_at_once=self.clips_at_once,
            team=self.team,
        )
        done = trainer.run(hooks.progress)
        self.network.eval()
        self.method.end_step(step)
        self.team.assert_in_sync(self.network.state_dict().values(), "weights")
        hooks.summary = StepSummary(
            best_epoch=done.best_epoch, val_accuracy=done.best_accuracy, report=self.method.report()
        )
        if self.memory is not None:
            self._choose_exemplars(index)
            self._remember(step)
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
        if self.method.fresh_start:
            self.network = self._fresh_network(index)
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
            kept=self._kept_rows(index, new + old),
        )
        self.method.begin_step(step)
        rows = torch.tensor(new + old, dtype=torch.float64, device=pool.labels.device)
        self.team.assert_in_sync([rows], "training clips and exemplars")
        self.team.assert_in_sync(self.network.state_dict().values(), "weights")
        return step

    def _grow_head(self, index: int) -> None:
        """Add the classes up to step `index` that the head does not have yet."""
        if count := sum(self._task_sizes(index)) - self.network.classes:
            with seeded(self.settings.seed, "head", index):
                self.network.head.grow(count)

    def _teacher(self, pool: Table, *, new_count: int) -> Teacher:
        data, cache = self.data, self.teacher_cache
        return Teacher(
            self.network,
            pool,
            new_count=new_count,
            budget=Budget.of_host(0) if cache == "none" else data.budget,
            scratch=data.scratch if cache == "auto" else None,
        )

    def _validated(self, index: int, hooks: Hooks) -> float | None:
        """Accuracy on validation clips of the network as it is, by the classifier that the method names for that."""
        network = self.network.eval()
        if not self.method.validates_by_means:
            return hooks.validate(network)
        with self._chosen_for_now(index):
            network.class_means = self._exemplar_means()
            accuracy = hooks.validate(network)
        network.class_means = None
        return accuracy

    @contextmanager
    def _chosen_for_now(self, index: int) -> Iterator[None]:
        """Within, the memory is as it would be if the step ended now."""
        assert self.memory is not None
        before = {label: list(ids) for label, ids in self.memory.clip_ids.items()}
        try:
            self._choose_exemplars(index)
            yield
        finally:
            self.memory.clip_ids = before

    def _kept_rows(self, index: int, pool: list[int]) -> Tensor | None:
        """Rows of the pool, whose clips are the store's rows `pool`, that the memory holds after the step."""
        if self.memory is None or self.method.rehearsal != "random":
            return None
        with self._chosen_for_now(index):
            kept = self.data.rows_of_ids(self._exemplar_ids())
        place = {row: number for number, row in enumerate(pool)}
        return torch.tensor([place[row] for row in kept], dtype=torch.int64)

    def _exemplar_ids(self) -> list[str]:
        """Of all classes, in the order in which the next step's pool holds them."""
        assert self.memory is not None
        classes = self.data.benchmark.classes
        return [clip_id for label in classes for clip_id in self.memory.clip_ids.get(label, [])]

    def _remember(self, step: Step) -> None:
        """Let the method keep what it needs of the exemplars just chosen."""
        if not self.method.keeps_exemplar_state:
            return
        ids = self._exemplar_ids()
        rows = step.pool.rows_of_store[step.new_count :].tolist()
        before = {self.data.store.clips[row].clip_id: number for number, row in enumerate(rows)}
        previous = torch.tensor([before.get(clip_id, -1) for clip_id in ids], dtype=torch.int64)
        self.method.remember(self.network, self.data.table(self.data.rows_of_ids(ids)), previous)

    def _choose_exemplars(self, index: int) -> None:
        """Reduce the exemplars of the old classes, then choose those of the step's classes.

        If a class comes again, its exemplars are chosen among the old ones and the new clips.
        """
        assert self.memory is not None
        quota = self.memory.quota(sum(self._task_sizes(index)))
        self.memory.shrink(quota)
        rows = self.data.rows("train", index)
        clips = self.data.store.clips
        for label in dict.fromkeys([*self.data.benchmark.steps[index], *(clips[row].label for row in rows)]):
            kept = self.data.rows_of_ids(list(dict.fromkeys(self.memory.clip_ids.get(label, []))))
            own = [*kept, *(row for row in rows if clips[row].label == label)]
            if self.method.rehearsal == "herding":
                features = self._features(self.data.table(own))
                chosen = choose_by_herding(features, quota, repeats=self.method.herding_repeats)
            elif kept:
                draw = generator(self.settings.seed, "exemplars", label, index)
                seen = self.data.clips_before(label, index)
                chosen = choose_again(len(kept), len(own) - len(kept), quota, seen=seen, generator=draw)
            else:
                draw = generator(self.settings.seed, "exemplars", label)
                chosen = choose_random(len(own), quota, generator=draw)
            self.memory.clip_ids[label] = [clips[own[position]].clip_id for position in chosen]

    def _features(self, table: Table) -> Tensor:
        """h (n, D) of a table's clips, in the machine's memory."""
        with torch.no_grad():
            return torch.cat([self.network(*taken).feature.cpu() for _, taken in table.all()])

    def _exemplar_means(self) -> Tensor:
        """Mean of hat(h) over each class's exemplars (K, D)."""
        assert self.memory is not None
        means = []
        for label in self.data.benchmark.classes[: self.network.classes]:
            table = self.data.table(self.data.rows_of_ids(self.memory.clip_ids[label]))
            means.append(F.normalize(self._features(table), dim=1).mean(dim=0))
        return torch.stack(means).to(self.data.device_config.device)

    def tensors(self) -> dict[str, Tensor]:
        return self.network.tensors() | self.method_tensors()

    def method_tensors(self) -> dict[str, Tensor]:
        """What the method keeps, under names of their own."""
        return {METHOD_STATE + name: tensor for name, tensor in self.method.tensors().items()}

    def restore(
        self, index: int, tensors: dict[str, Tensor], exemplars: Mapping[str, Sequence[str]]
    ) -> Model:
        self._grow_head(index)
        self.network.load_tensors({n: t for n, t in tensors.items() if not n.startswith(METHOD_STATE)})
        self.network.eval()
        self.method.load(method_state(tensors))
        if self.memory is not None:
            self.memory.clip_ids = {label: list(ids) for label, ids in exemplars.items()}
        return self.network


class ClosedFormLearner:
    """Statistics that a step is added to in one pass."""

    memory: ExemplarMemory | None = None
    validation_chooses = False

    def __init__(self, method: ClosedFormMethod, data: LearningData, settings: LearningSettings) -> None:
        self.method, self.data, self.settings = method, data, settings
        self.method.seed = settings.seed
        self.method.part_widths = part_widths(data.store)
        constants = {name: data.store.constants(name) for name in ("audio", "visual")}
        self.method.constants = {name: found for name, found in constants.items() if found is not None}

    def remove_classes(self, index: int) -> None:
        if forgotten := self.data.rows_to_forget(index):
            table = self.data.table(forgotten, once=True)
            for rows, (audio, visual) in table.all():
                self.method.forget(audio, gathered(visual), table.labels[rows])
        for number in sorted((self.data.class_number[x] for x in self.data.removed_at(index)), reverse=True):
            self.method.drop(number)
        self.data.begin_task(index)

    def learn(self, index: int, hooks: Hooks) -> Model:
        self.method.grow(len(self.data.benchmark.steps[index]))
        table = self.data.table(self.data.rows("train", index))
        for rows, (audio, visual) in table.all():
            self.method.observe(audio, gathered(visual), table.labels[rows])
        model = self.method.solve()
        accuracy = hooks.validate(model)
        report = dict(sorted(self.method.report().items()))  # restored figures come in another order
        hooks.summary = StepSummary(best_epoch=0, val_accuracy=accuracy, report=report)
        hooks.log(Epoch(step=index, epoch=0, losses={}, loss=None, val_accuracy=accuracy, report=report))
        hooks.notes = getattr(model, "notes", ())
        hooks.tick()
        return model

    def tensors(self) -> dict[str, Tensor]:
        return self.method.tensors()

    def restore(
        self, index: int, tensors: dict[str, Tensor], exemplars: Mapping[str, Sequence[str]]
    ) -> Model:
        self.data.begin_task(index)
        self.method.load(tensors)
        return self.method.solve()


def make_learner(
    method: Any,
    data: LearningData,
    settings: LearningSettings,
    memory: ExemplarMemory | None,
    **execution: Any,
) -> Learner:
    """The learner of a method's kind; `execution`: further arguments of `GradientLearner`."""
    if isinstance(method, GradientMethod):
        return GradientLearner(method, data, settings, memory, **execution)
    if isinstance(method, ClosedFormMethod):
        return ClosedFormLearner(method, data, settings)
    raise AvcilError(f"{type(method).__name__} derives from neither GradientMethod nor ClosedFormMethod")
