"""One sitting: a model, and what it keeps of the past, take in more clips, as one step of a run does.

The sitting goes through the learner that runs use, so k steps of a run followed by sittings for the others give
what the whole run gives, bit for bit, if the clips come with the same ids (they are taken in by id) and the run ends
each step with its last epoch (`--selection last`): clips for choosing an epoch are not kept with a model.

n new clips, E exemplars, T time slices, S spatial tokens, Da and Dv widths.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avcil.encoders.parts import EncoderPart
from avcil.errors import InputError
from avcil.features import StoredClip
from avcil.methods.base import ClosedFormMethod, GradientMethod, Method
from avcil.methods.registry import load_method, method_names, usable_methods
from avcil.models.base import Model
from avcil.nn.network import Network
from avcil.saved_models.learning_settings import LearningSettings
from avcil.saved_models.learning_state import LearningState
from avcil.training.device_config import DeviceConfig
from avcil.training.learning_data import LearningData
from avcil.training.memory_pool import Budget, device_memory
from avcil.training.task_data import TaskData
from avcil.training.trainers import ClosedFormLearner, GradientLearner, Hooks, Learner, method_state


@dataclass(frozen=True, kw_only=True)
class NewClips:
    """Clips to be learnt, in order of their ids."""

    ids: Sequence[str]
    labels: Sequence[str]
    audio: np.ndarray | None
    """(n, Da), in the dtype of the features that training saw"""
    visual: np.ndarray | None
    """(n, T, S, Dv)"""

    def sorted(self) -> NewClips:
        """The same clips, by id."""
        order = sorted(range(len(self.ids)), key=lambda i: self.ids[i])
        return NewClips(
            ids=[self.ids[i] for i in order],
            labels=[self.labels[i] for i in order],
            audio=None if self.audio is None else self.audio[order],
            visual=None if self.visual is None else self.visual[order],
        )


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The classes of each step. The last step may have none: more clips of known classes alone."""

    steps: tuple[tuple[str, ...], ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """All of them in order."""
        return tuple(label for step in self.steps for label in step)


class UpdateFeatures:
    """New clips, then exemplars, in memory; read as a feature store is."""

    def __init__(self, new: NewClips, learning: LearningState) -> None:
        kept = learning.exemplar_ids
        label_of = {clip_id: label for label, ids in learning.exemplars.items() for clip_id in ids}
        ids, labels = [*new.ids, *kept], [*new.labels, *(label_of[clip_id] for clip_id in kept)]
        self.clips = [
            StoredClip(
                clip_id=clip_id,
                label=label,
                split="train",
                path="",
                start=None,
                end=None,
                visual=new.visual is not None,
                audio=new.audio is not None,
            )
            for clip_id, label in zip(ids, labels, strict=True)
        ]
        self._audio = _joined(new.audio, learning.tensors.get("exemplars.audio"))
        self._visual = _joined(new.visual, learning.tensors.get("exemplars.visual"))

    @property
    def audio_width(self) -> int | None:
        return None if self._audio is None else self._audio.shape[1]

    @property
    def visual_shape(self) -> tuple[int, int, int] | None:
        return None if self._visual is None else self._visual.shape[1:]

    def parts(self, modality: str) -> tuple[EncoderPart, ...]:
        """None: what a method needs to know of them is in its saved statistics."""
        return ()

    def constants(self, modality: str) -> None:
        """None: the saved statistics hold what scales the features."""

    def audio(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        assert self._audio is not None
        return self._audio[np.asarray(rows, dtype=np.int64)]

    def visual(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        assert self._visual is not None
        return self._visual[np.asarray(rows, dtype=np.int64)]


def _joined(new: np.ndarray | None, kept: Tensor | None) -> np.ndarray | None:
    return new if new is None or kept is None else np.concatenate([new, kept.numpy()])


class UpdateData(LearningData):
    """The new clips, as the last step's, and the exemplars, by their ids.

    A network that a GPU trained in bfloat16 is updated on the processor, where it predicts, in float32.
    """

    def __init__(
        self,
        features: UpdateFeatures,
        steps: Steps,
        *,
        new: int,
        counts: Mapping[str, int],
        settings: LearningSettings,
        whole: bool,
    ) -> None:
        precision = None if settings.precision == "bfloat16" else settings.precision
        device_config = DeviceConfig.of("cpu", precision)
        super().__init__(
            features,
            steps,
            modality=settings.modality,
            device_config=device_config,
            whole_tokens=whole,
        )
        self._new, self._counts = new, counts
        self.budget = Budget.of_host(device_memory(device_config.device))

    def clips_before(self, label: str, task: int) -> int:
        return self._counts.get(label, 0)

    def rows(self, split: str, task: int) -> list[int]:
        last = task == len(self.benchmark.steps) - 1
        return list(range(self._new)) if split == "train" and last else []


def sit(
    model: Model,
    learning: LearningState,
    clips: NewClips,
    *,
    tick: Callable[[], None] = lambda: None,
) -> tuple[Model, LearningState]:
    """The model and the state after the clips; what was given stays as it is.

    New classes are learnt in the order in which the clips' labels first name them. `tick` is called after each epoch;
    a closed form has one. Raises InputError where the method cannot take the clips in.
    """
    fresh = tuple(dict.fromkeys(label for label in clips.labels if label not in learning.counts))
    method_class = method_of(learning)
    _check(method_class, clips, learning, fresh)
    clips = clips.sorted()
    steps = Steps(steps=(*learning.steps, fresh))
    features = UpdateFeatures(clips, learning)
    data = UpdateData(
        features,
        steps,
        new=len(clips.ids),
        counts=learning.counts,
        settings=learning.settings,
        whole=method_class.whole_tokens,
    )
    learner = _learner(method_class, learning, data, model)
    with torch.inference_mode(False), torch.enable_grad():
        learned = learner.learn(len(steps.steps) - 1, _hooks(tick))
    counts = dict(learning.counts)
    for label in [*fresh, *(label for label in clips.labels if label in learning.counts)]:
        counts[label] = sum(other == label for other in clips.labels) + learning.counts.get(label, 0)
    return learned, replace(
        learning,
        steps=tuple(step for step in steps.steps if step),
        counts=counts,
        **kept_by(learner, data),
    )


def method_of(learning: LearningState) -> type[Method]:
    """The method of a model.

    Raises:
        InputError: Neither avcil nor an installed package has it. A saved model cannot name other code to be run.
    """
    name = learning.settings.method
    if name not in method_names():
        raise InputError(
            f"this model was trained by the method {name}, which neither avcil nor an installed package has. If a "
            "package has it, install the package. If it is a file of your own, the model cannot learn more, because "
            f"a saved model must not name code to be run. Methods that can: {', '.join(method_names())}"
        )
    return load_method(name)


def closed_form(learning: LearningState) -> ClosedFormMethod | None:
    """The method with the model's statistics; None where the method has none."""
    method_class = method_of(learning)
    if not issubclass(method_class, ClosedFormMethod):
        return None
    settings = learning.settings
    method = method_class(settings.options(method_class), modality=settings.modality)
    method.seed = settings.seed
    load_statistics(method, learning)
    return method


def load_statistics(method: ClosedFormMethod, learning: LearningState) -> None:
    """Give a method its saved statistics; InputError if they are not its own, or of other classes."""
    method.load(dict(learning.tensors))
    classes = sum(map(len, learning.steps))
    saved = getattr(method, "classes", classes)
    if saved != classes:
        raise InputError(f"the saved statistics are of {saved} classes, the model knows {classes}")


def _check(
    method_class: type[Method], clips: NewClips, learning: LearningState, fresh: Sequence[str]
) -> None:
    if not clips.ids:
        raise InputError("there is no clip to learn from")
    again = sorted(set(clips.ids) & set(learning.exemplar_ids))
    if len(set(clips.ids)) != len(clips.ids) or again:
        raise InputError(
            f"clip ids must be unique, and new to the model; given twice: {', '.join(again[:5])}"
        )
    if not issubclass(method_class, GradientMethod):
        return
    if method_class.batching == "all":
        raise InputError(
            f"method {method_class.name} learns from all clips ever seen, which a model does not keep. Train again "
            "with avcil train, or use a method that learns step by step, such as blade"
        )
    old = [label for label in dict.fromkeys(clips.labels) if label not in fresh]
    if old and not method_class.learns_known_classes:
        can = [name for name in method_names() if load_method(name).learns_known_classes]
        raise InputError(
            f"method {method_class.name} cannot learn more clips of classes that it knows "
            f"({', '.join(map(repr, old[:5]))}). Methods that can: {', '.join(can)}"
        )


def closed_form_names() -> list[str]:
    """Names of the closed-form methods."""
    return [name for name, method in usable_methods()[0].items() if issubclass(method, ClosedFormMethod)]


def _learner(method_class: type[Method], learning: LearningState, data: UpdateData, model: Model) -> Learner:
    settings = learning.settings.for_update()
    method = method_class(settings.options(method_class), modality=settings.modality)
    if isinstance(method, ClosedFormMethod):
        learner: Learner = ClosedFormLearner(method, data, settings)
        load_statistics(method, learning)
        return learner
    assert isinstance(method, GradientMethod)
    rehearses = method.rehearsal != "none"
    memory = settings.new_memory(len(data.benchmark.classes)) if rehearses else None
    learner = GradientLearner(method, data, settings, memory)
    if not isinstance(model, Network):
        raise InputError(f"method {method.name} trains a network; this model is of kind {model.kind!r}")
    learner.network = Network.from_config(model.to_config(), model.tensors()).eval()
    method.load(method_state(learning.tensors))
    if memory is not None:
        memory.clip_ids = {label: list(ids) for label, ids in learning.exemplars.items()}
    return learner


def _hooks(tick: Callable[[], None]) -> Hooks:
    return Hooks(
        validate=lambda _model: None,
        log=lambda _line: None,
        save=lambda _progress: None,
        tick=tick,
        progress=None,
    )


def kept_by(learner: Learner, data: LearningData) -> dict[str, Any]:
    """`exemplars` and `tensors` of the learning state that a learner leaves."""
    if isinstance(learner, ClosedFormLearner):
        return {"exemplars": {}, "tensors": learner.tensors()}
    assert isinstance(learner, GradientLearner)
    own = learner.method_tensors()
    if learner.memory is None:
        return {"exemplars": {}, "tensors": own}
    ids = {label: tuple(kept) for label, kept in learner.memory.clip_ids.items()}
    rows = data.rows_of_ids(list(dict.fromkeys(i for kept in ids.values() for i in kept)))
    tensors = dict(own)
    if data.modality.has_audio:
        tensors["exemplars.audio"] = torch.from_numpy(data.store.audio(rows))
    if data.modality.has_visual:
        tensors["exemplars.visual"] = torch.from_numpy(data.store.visual(rows))
    return {"exemplars": ids, "tensors": tensors}


def state_of_run(learner: Learner, data: TaskData, settings: LearningSettings) -> LearningState:
    """What a model of a finished run needs to learn more."""
    counts = dict.fromkeys(data.classes, 0)
    for task in range(len(data.benchmark.steps)):
        for label in (data.store.clips[row].label for row in data.rows("train", task)):
            if label in counts:  # not removed
                counts[label] += 1
    steps = [tuple(label for label in step if label in counts) for step in data.benchmark.steps]
    return LearningState(
        settings=settings,
        steps=tuple(step for step in steps if step),
        counts=counts,
        **kept_by(learner, data),
    )
