"""What a method is: its losses, its memory rule and its classifier. The loop around it exists once, elsewhere.

N clips of a batch (new ones first, then exemplars), T time slices, S spatial tokens, C classes; classes are
numbered in the order in which they are learnt, so that `known` is K_old and `total` is K.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from torch import Tensor

from avcil.data.modality import Modality
from avcil.encoders.constants import Constants
from avcil.errors import InputError
from avcil.models.base import Model
from avcil.nn.head import Head, LinearHead
from avcil.nn.network import Network, NetworkOutput
from avcil.nn.token_rows import Tokens

Rehearsal = Literal["none", "random", "herding"]
"""How exemplars are chosen, where a method keeps any."""
Batching = Literal["new", "paired", "mixed", "all"]
"""What one batch is: new clips; new clips and exemplars side by side; both shuffled into one; all clips ever seen."""


ExemplarBatches = Literal["reshuffled", "repeated"]
"""Exemplar batches of an epoch once all exemplars were used: a new shuffle, or the same batches again in the same
order, as the release's cached iterator gives them."""


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """Of a method that has none."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Clips of one iteration."""

    audio: Tensor | None
    """(N, Da)"""
    visual: Tokens | None
    """(N, T, S, Dv), perhaps not copied together yet"""
    labels: Tensor
    """(N,) class numbers"""
    rows: Tensor
    """(N,) rows of the step's pool, which the teacher's memory is kept by"""
    new_count: int
    """How many of the first clips are new ones; the others are exemplars."""
    is_whole: bool = True
    """False: the clips are too many to be held at once, so `forward` is given parts, and `loss` no features."""

    def exemplars(self) -> Batch:
        """The batch without its new clips."""
        part = slice(self.new_count, None)
        return Batch(
            audio=None if self.audio is None else self.audio[part],
            visual=None if self.visual is None else self.visual[part],
            labels=self.labels[part],
            rows=self.rows[part],
            new_count=0,
            is_whole=self.is_whole,
        )


class ClipPool(Protocol):
    """The training clips of a step, as a method may read them. `training.data.Table` is one."""

    def __len__(self) -> int: ...

    @property
    def rows_of_store(self) -> np.ndarray:
        """(n,) row of each clip in the feature store."""
        ...

    @property
    def labels(self) -> Tensor:
        """(n,) class numbers."""
        ...

    @property
    def eval_batch_size(self) -> int:
        """How many clips to read in one part."""
        ...

    def all(self) -> Iterator[tuple[Tensor, tuple[Tensor | None, Tokens | None]]]:
        """Row numbers (n,) of one part after the other, and the features of its clips."""
        ...

    def stream(self, indices: Iterable[Tensor]) -> Iterator[tuple[Tensor | None, Tokens | None]]:
        """Audio (n, Da) and visual tokens (n, T, S, Dv) for each tensor of row numbers (n,), read ahead."""
        ...


class Teacher(Protocol):
    """The frozen model of the previous step. `training.teacher.Teacher` is one.

    What it computes for a clip does not change during a step, so it is stored by the clip's row.
    """

    network: Network

    def logits(self, batch: Batch) -> Tensor:
        """(N, K_old) scores of the previous classes."""
        ...

    def recall(
        self, name: str, compute: Callable[[Network, Batch], tuple[Tensor, ...]], batch: Batch
    ) -> tuple[Tensor, ...]:
        """`compute(network, batch)`, each tensor (N, ...), stored under `name`."""
        ...

    def recall_rows(
        self, name: str, compute: Callable[[Network, Batch], tuple[Tensor, ...]], batch: Batch
    ) -> tuple[Tokens, ...]:
        """As `recall`, but the tensors are not copied together."""
        ...


@dataclass(kw_only=True)
class Step:
    """Where a run stands: what the method may look at while it learns one step."""

    index: int
    """s, from 0"""
    task_sizes: tuple[int, ...]
    """Class counts of the steps so far, this one included."""
    network: Network
    teacher: Teacher | None
    """The model at the end of the last step, frozen; None at step 0 and for methods that start afresh."""
    pool: ClipPool
    """This step's training clips: the new ones first, then the exemplars."""
    new_count: int
    """How many clips of the pool are new."""
    seed: int
    kept: Tensor | None = None
    """(E,) rows of the pool that the memory holds after this step; None where features decide (herding), or nothing
    is kept."""

    @property
    def known(self) -> int:
        """K_old: classes seen before this step."""
        return sum(self.task_sizes[:-1])

    @property
    def total(self) -> int:
        """K: classes seen up to and including this step."""
        return sum(self.task_sizes)


class Method(ABC):
    """Base of both kinds; `Options` is a frozen dataclass whose docstrings are the documentation of the options."""

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line for lists and reports."""
    Options: ClassVar[type] = NoOptions
    removed_options: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    """Options of earlier versions, each with the values that changed nothing: saved runs and models may still name
    them with these."""
    modalities: ClassVar[Sequence[Modality]] = tuple(Modality)
    rehearsal: ClassVar[Rehearsal] = "none"
    learns_known_classes: ClassVar[bool] = False
    """Whether a step may bring more clips of classes of earlier steps, or only such clips."""
    whole_tokens: ClassVar[bool] = False
    """Whether it needs all visual tokens even where the picture is alone; else it is given their mean then."""

    def __init__(self, options: Any, *, modality: Modality) -> None:
        self.options = options
        self.modality = Modality(modality)


class GradientMethod(Method):
    """Trained by gradient: says what a batch's loss is."""

    batching: ClassVar[Batching] = "new"
    fresh_start: ClassVar[bool] = False
    """Whether every step starts from a new network (joint training) instead of the last one."""
    uses_teacher: ClassVar[bool] = False
    """Whether the loss looks at the last step's model."""
    keeps_exemplar_state: ClassVar[bool] = False
    """Whether `remember` is called."""

    @property
    def recalls_maps(self) -> bool:
        """Whether it asks that model for the spatial attention to exemplars, which takes room."""
        return False

    @property
    def classifier(self) -> Literal["head", "nearest-mean"]:
        """Who classifies after a step: the head, or the nearest exemplar mean."""
        return "head"

    @property
    def herding_repeats(self) -> bool:
        """Whether herding may choose a clip again, as the release's herding does."""
        return False

    @property
    def validates_by_means(self) -> bool:
        """Whether validation after each epoch asks the nearest exemplar mean, with exemplars herded for that epoch."""
        return False

    @property
    def exemplar_batches(self) -> ExemplarBatches:
        """Of `paired` batches: what follows when the exemplars were used up within an epoch."""
        return "reshuffled"

    def build_head(self, width: int) -> Head:
        """An empty head for features of `width`."""
        return LinearHead(width)

    def begin_step(self, step: Step) -> None:
        """Called once the head has grown and before the first batch; must be the same function of `step` each time."""

    def forward(self, batch: Batch, step: Step) -> NetworkOutput:
        """The network's pass over the batch, with what `loss` needs of it."""
        return step.network(batch.audio, batch.visual)

    def trained_rows(self, step: Step) -> Tensor | None:
        """Rows of the pool that batches are drawn from, ascending; None for all."""
        return None

    def end_step(self, step: Step) -> None:
        """Called with the weights that the step ends with, before exemplars are chosen. It may change the head."""

    def remember(self, network: Network, exemplars: ClipPool, previous: Tensor) -> None:
        """Called once exemplars were chosen, if `keeps_exemplar_state`.

        Args:
            network: As it answers after the step.
            exemplars: All exemplars, in the order in which they follow the new clips in the next step's pool.
            previous: (E,), the place of each among the exemplars of the step before; -1 for a new one.
        """

    def tensors(self) -> dict[str, Tensor]:
        """What the method keeps from step to step beside network and exemplars, to be saved."""
        return {}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take up what `tensors` gave; the file may come from anyone."""

    def report(self) -> dict[str, float]:
        """Numbers of the last step for its state file."""
        return {}

    @abstractmethod
    def loss(self, output: NetworkOutput, batch: Batch, step: Step) -> dict[str, Tensor]:
        """The loss's terms by name, weighted, of what `forward` gave: their sum is what is minimized.

        It looks at outputs, labels, rows and the teacher; at the batch's features only `forward` may look, since a
        large batch goes through in parts.
        """


class ClosedFormMethod(Method):
    """Fitted in closed form: says how a step's clips change its statistics, and what they give.

    The model's `kind` is the method's `name`, by which a saved model finds its way back to `load_model`.
    """

    learns_known_classes = True
    seed: int = 0
    """Of what is drawn at random, such as projections; set before the first clip."""
    part_widths: Mapping[str, tuple[int, ...]] = {}
    """Features of each part of a combined encoder, for "audio" and "visual" where there are several; set before the
    first clip."""
    constants: Mapping[str, Constants] = {}
    """Typical center and scale of the features of "audio" and "visual", where they are known; set before the first
    clip."""

    @property
    def forgets_clips(self) -> bool:
        """Whether `forget` works with the options of this method."""
        return type(self).forget is not ClosedFormMethod.forget

    @abstractmethod
    def grow(self, count: int) -> None:
        """Make room for `count` more classes."""

    @abstractmethod
    def observe(self, audio: Tensor | None, visual: Tensor | None, labels: Tensor) -> None:
        """Add clips, audio (B, Da), visual (B, T, S, Dv), labels (B,), to the statistics."""

    @abstractmethod
    def solve(self) -> Model:
        """The model that the statistics give; ends a step."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """The statistics as the last `solve` left them, to be saved."""

    @abstractmethod
    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take up saved statistics."""

    @classmethod
    @abstractmethod
    def load_model(cls, config: dict[str, Any], tensors: dict[str, Tensor]) -> Model:
        """A saved model, from its `to_config` and `tensors`."""

    def forget(self, audio: Tensor | None, visual: Tensor | None, labels: Tensor) -> None:
        """Take clips that were observed out of the statistics again, as if they had never been there."""
        raise InputError(f"method {self.name} cannot forget single clips: its statistics are no plain sums")

    def drop(self, number: int) -> None:
        """Never answer with class `number` again; those behind it move up."""
        raise InputError(f"method {self.name} cannot drop a class")

    def report(self) -> dict[str, float]:
        """Figures of the last `solve` for the log, such as the penalty chosen and the bytes kept."""
        return {}
