"""Base classes of methods: loss, rehearsal and classifier. The training loop is in `training`.

B clips of a batch, T time slices, S spatial tokens, C classes. `avcil.methods.step` has what a method sees of a step;
`Batch` and `Step` can be imported from here as well.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from torch import Tensor

from avcil.closed_form.learned_clips import LearnedClips
from avcil.data.modality import Modality
from avcil.encoders.constants import Constants
from avcil.errors import InputError
from avcil.methods.model import Model
from avcil.methods.step import Batch, ClipPool, Step
from avcil.nn.head import Head, LinearHead
from avcil.nn.network import Network, NetworkOutput
from avcil.utils.options import NoOptions

Rehearsal = Literal["none", "random", "herding"]
"""How exemplars are selected."""
Batching = Literal["new", "paired", "mixed", "all"]
"""Composition of a batch: new clips; new clips plus exemplars; both shuffled together; the clips of all steps."""
ExemplarBatches = Literal["reshuffled", "repeated"]
"""Exemplar batches of an epoch after all exemplars were used: shuffled again, or the same batches in the same order, as
in AV-CIL's release."""


class Method(ABC):
    """Base class of all methods. The docstrings of the frozen dataclass `Options` document the options."""

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line for lists and reports."""
    Options: ClassVar[type] = NoOptions
    removed_options: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    """Removed options, with the values that had no effect: saved runs and models may contain these."""
    renamed_options: ClassVar[Mapping[str, str]] = {}
    """Earlier names of options, which are still accepted, and their current names."""
    modalities: ClassVar[Sequence[Modality]] = tuple(Modality)
    rehearsal: ClassVar[Rehearsal] = "none"
    learns_known_classes: ClassVar[bool] = False
    """Whether a step may have clips of classes of earlier steps, with or without new classes."""
    learns_incomplete_clips: ClassVar[bool] = False
    """Whether an audio-visual method learns from clips that lack audio or frames. `ClosedFormMethod.observe` then gets
    None for the modality that all clips of a batch lack. Otherwise such clips are left out, counted and listed."""
    needs_all_tokens: ClassVar[bool] = False
    """Whether it needs all visual tokens also with the modality `visual`; otherwise it gets their mean."""

    def __init__(self, options: Any, *, modality: Modality) -> None:
        self.options = options
        self.modality = Modality(modality)


class GradientMethod(Method):
    """Base class of methods that are trained by gradient descent; defines the loss of a batch."""

    batching: ClassVar[Batching] = "new"
    trains_from_scratch: ClassVar[bool] = False
    """Whether each step starts with a new network instead of that of the previous step."""
    uses_teacher: ClassVar[bool] = False
    """Whether the loss uses the model of the previous step."""
    stores_exemplar_data: ClassVar[bool] = False
    """Whether the method stores data for each exemplar, so that `update_exemplar_data` is called."""

    @property
    def uses_teacher_attention(self) -> bool:
        """Whether the loss uses the teacher's spatial attention for exemplars, which needs memory."""
        return False

    @property
    def classifier(self) -> Literal["head", "nearest-mean"]:
        """The classifier after a step: the head, or the nearest class mean of exemplars."""
        return "head"

    @property
    def herding_repeats(self) -> bool:
        """Whether herding may select a clip repeatedly, as in AV-CIL's release."""
        return False

    @property
    def validates_by_means(self) -> bool:
        """Whether validation uses the nearest-mean classifier, with exemplars herded after each epoch."""
        return False

    @property
    def exemplar_batches(self) -> ExemplarBatches:
        """For `paired` batches: the exemplar batches after all exemplars were used within an epoch."""
        return "reshuffled"

    def build_head(self, width: int) -> Head:
        """An empty head for features of `width`."""
        return LinearHead(width)

    def begin_step(self, step: Step) -> None:
        """Called after the head has grown, before the first batch; also when a step is resumed."""

    def forward(self, batch: Batch, step: Step) -> NetworkOutput:
        """Forward pass of a batch; returns what `loss` needs."""
        return step.network(batch.audio, batch.visual)

    def trained_rows(self, step: Step) -> Tensor | None:
        """Rows of the pool that are used for training, ascending; None for all."""
        return None

    def after_update(self, network: Network) -> None:
        """Called after each update of the weights by the optimizer. It may constrain the weights."""

    def end_step(self, step: Step) -> None:
        """Called with the final weights of the step, before exemplars are selected. It may change the head."""

    def update_exemplar_data(self, network: Network, exemplars: ClipPool, previous: Tensor) -> None:
        """Called after exemplars were selected, if `stores_exemplar_data`.

        Args:
            network: The network after the step.
            exemplars: All exemplars, in their order in the pool of the next step.
            previous: (E,), position of each among the exemplars of the previous step; -1 for a new one.
        """

    def tensors(self) -> dict[str, Tensor]:
        """State of the method in addition to network and exemplars, for checkpoints."""
        return {}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Restore the state that `tensors` returned. The file may be untrusted: check shapes."""

    def report(self) -> dict[str, float]:
        """Metrics of the last step for its state file."""
        return {}

    @abstractmethod
    def loss(self, output: NetworkOutput, batch: Batch, step: Step) -> dict[str, Tensor]:
        """The weighted terms of the loss by name; their sum is minimized.

        Use outputs, labels, rows and the teacher, but not the features of the batch: a large batch is processed in
        parts, and only `forward` gets the features.
        """


class ClosedFormMethod(Method):
    """Base class of methods that compute a model from statistics, without gradient descent.

    The `kind` of the model is the `name` of the method, so that a saved model is loaded with `load_model`.
    """

    learns_known_classes = True
    seed: int = 0
    """Seed of random projections and samples; set before the first clip."""
    part_widths: Mapping[str, tuple[int, ...]] = {}
    """Widths of the parts of a combined encoder, for "audio" and "visual"; set before the first clip."""
    feature_widths: Mapping[str, int] = {}
    """Number of features of "audio" and "visual", if known; set before the first clip."""
    constants: Mapping[str, Constants] = {}
    """Typical center and scale of the features of "audio" and "visual", if known; set before the first clip."""

    learned: LearnedClips | None = None
    """The clips that the statistics contain; None if the method does not record them."""

    def clip_hashes(self, audio: Tensor | None, visual: Tensor | None) -> Tensor:
        """(B,) int64, the hashes of clips in `learned`; arguments as for `observe`."""
        raise NotImplementedError

    @property
    def forgets_clips(self) -> bool:
        """Whether `forget` works with the options of this method."""
        return type(self).forget is not ClosedFormMethod.forget

    @abstractmethod
    def add_classes(self, count: int) -> None:
        """Add `count` classes."""

    @abstractmethod
    def observe(self, audio: Tensor | None, visual: Tensor | None, labels: Tensor) -> None:
        """Add clips, audio (B, Da), visual (B, T, S, Dv), labels (B,), to the statistics.

        A modality is None if the model does not use it, or if no clip of the batch has it (`learns_incomplete_clips`).
        """

    @abstractmethod
    def solve(self) -> Model:
        """Compute the model from the statistics; ends a step."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """The statistics after the last `solve`, for checkpoints."""

    @abstractmethod
    def load(self, tensors: dict[str, Tensor]) -> None:
        """Restore saved statistics."""

    @classmethod
    @abstractmethod
    def load_model(cls, config: dict[str, Any], tensors: dict[str, Tensor]) -> Model:
        """Load a saved model from its `to_config` and `tensors`."""

    def forget(self, audio: Tensor | None, visual: Tensor | None, labels: Tensor) -> None:
        """Remove observed clips from the statistics."""
        raise InputError(f"method {self.name} cannot forget single clips: its statistics are not plain sums")

    def remove_class(self, number: int) -> None:
        """Remove class `number`; the numbers of later classes decrease by 1."""
        raise InputError(f"method {self.name} cannot remove a class")

    def report(self) -> dict[str, float]:
        """Metrics of the last `solve` for the log, such as the selected penalty and the size in bytes."""
        return {}
