"""Update a saved model with new clips, as one training step.

An update uses the trainers of a run. Therefore k steps of a run followed by an update for each remaining step give the
same model as the whole run, bit for bit, if the clips have the same ids (clips are sorted by id) and the run uses
`--selection last`. A saved model contains no validation clips, so an update cannot select an epoch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from avcil.datasets import Benchmark
from avcil.errors import InputError
from avcil.methods.base import ClosedFormMethod, GradientMethod, Method
from avcil.methods.model import Model
from avcil.methods.registry import METHODS, load_method, method_names
from avcil.nn.network import Network
from avcil.saved_models.learning_settings import LearningSettings
from avcil.saved_models.learning_state import LearningState
from avcil.training.gradient_trainer import METHOD_STATE, GradientTrainer
from avcil.training.learning_data import LearningData
from avcil.training.task_data import TaskData
from avcil.training.trainer import Hooks, Trainer
from avcil.training.trainers import ClosedFormTrainer
from avcil.training.update_data import UpdateClips, UpdateData, UpdateFeatures
from avcil.utils.tensor_names import strip_prefix


def update_model(
    model: Model,
    learning: LearningState,
    clips: UpdateClips,
    *,
    tick: Callable[[], None] = lambda: None,
) -> tuple[Model, LearningState]:
    """Train a model on new clips, of known or new classes.

    Args:
        model: The model; not modified.
        learning: Its learning state; not modified.
        clips: The new clips. New classes are numbered in the order of their first clip.
        tick: Called after each epoch; a closed-form method has one epoch.

    Returns:
        The updated model and its learning state.

    Raises:
        InputError: The method cannot learn these clips.
    """
    new_classes = tuple(dict.fromkeys(label for label in clips.labels if label not in learning.counts))
    method_class = _method_of(learning)
    _check(method_class, clips, learning, new_classes)
    clips = clips.sorted()
    steps = Benchmark(name="update", steps=(*learning.steps, new_classes))
    features = UpdateFeatures(clips, learning)
    data = UpdateData(
        features,
        steps,
        new=len(clips.ids),
        counts=learning.counts,
        settings=learning.settings,
        all_tokens=method_class.needs_all_tokens,
    )
    trainer = _trainer(method_class, learning, data, model)
    with torch.inference_mode(False), torch.enable_grad():
        learned = trainer.train_step(len(steps.steps) - 1, Hooks(tick=tick))
    counts = dict(learning.counts)
    for label in [*new_classes, *(label for label in clips.labels if label in learning.counts)]:
        counts[label] = sum(other == label for other in clips.labels) + learning.counts.get(label, 0)
    return learned, replace(
        learning,
        steps=tuple(step for step in steps.steps if step),
        counts=counts,
        **_stored_state(trainer, data),
    )


def _method_of(learning: LearningState) -> type[Method]:
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


def closed_form_method(learning: LearningState) -> ClosedFormMethod | None:
    """The closed-form method of a model, with its statistics; None if the model was trained by gradient descent."""
    method_class = _method_of(learning)
    if not issubclass(method_class, ClosedFormMethod):
        return None
    settings = learning.settings
    method = method_class(settings.options(method_class), modality=settings.modality)
    method.seed = settings.seed
    load_statistics(method, learning)
    return method


def load_statistics(method: ClosedFormMethod, learning: LearningState) -> None:
    """Load saved statistics into a method.

    Raises:
        InputError: The statistics are invalid, or have another number of classes than the model.
    """
    method.load(dict(learning.tensors))
    classes = sum(map(len, learning.steps))
    saved = getattr(method, "classes", classes)
    if saved != classes:
        raise InputError(f"the saved statistics have {saved} classes, but the model has {classes}")


def _check(
    method_class: type[Method], clips: UpdateClips, learning: LearningState, new_classes: Sequence[str]
) -> None:
    if not clips.ids:
        raise InputError("there are no clips to learn")
    repeated = {clip_id for clip_id, count in Counter(clips.ids).items() if count > 1}
    repeated |= set(clips.ids) & set(learning.exemplar_ids)
    if repeated:
        raise InputError(
            "clip ids must be unique, and differ from those of the exemplars of the model; repeated: "
            f"{', '.join(sorted(repeated)[:5])}"
        )
    if not issubclass(method_class, GradientMethod):
        return
    if method_class.batching == "all":
        raise InputError(
            f"method {method_class.name} trains on the clips of all steps, which a model does not contain. Train again "
            "with avcil train, or use a method that learns step by step, such as blade"
        )
    old = [label for label in dict.fromkeys(clips.labels) if label not in new_classes]
    if old and not method_class.learns_known_classes:
        others = [name for name in method_names() if _can_learn_known_classes(load_method(name))]
        raise InputError(
            f"method {method_class.name} cannot learn more clips of known classes "
            f"({', '.join(map(repr, old[:5]))}). Methods that can: {', '.join(others)}"
        )


def _can_learn_known_classes(method_class: type[Method]) -> bool:
    """Whether an update can contain clips of known classes; not if the method needs the clips of all steps."""
    needs_all = issubclass(method_class, GradientMethod) and method_class.batching == "all"
    return method_class.learns_known_classes and not needs_all


def learns_incomplete_clips(learning: LearningState) -> bool:
    """Whether a model can learn from clips that lack one of its modalities."""
    return _method_of(learning).learns_incomplete_clips


def closed_form_method_names() -> list[str]:
    """Names of the closed-form methods."""
    return [name for name, method in METHODS.usable()[0].items() if issubclass(method, ClosedFormMethod)]


def _trainer(method_class: type[Method], learning: LearningState, data: UpdateData, model: Model) -> Trainer:
    settings = learning.settings.for_update()
    method = method_class(settings.options(method_class), modality=settings.modality)
    if isinstance(method, ClosedFormMethod):
        trainer: Trainer = ClosedFormTrainer(method, data, settings)
        load_statistics(method, learning)
        return trainer
    assert isinstance(method, GradientMethod)
    has_memory = method.rehearsal != "none"
    memory = settings.new_memory(len(data.benchmark.classes)) if has_memory else None
    trainer = GradientTrainer(method, data, settings, memory)
    if not isinstance(model, Network):
        raise InputError(f"method {method.name} trains a network; this model is of kind {model.kind!r}")
    trainer.network = Network.from_config(model.to_config(), model.tensors()).eval()
    method.load(strip_prefix(METHOD_STATE, learning.tensors))
    if memory is not None:
        memory.clip_ids = {label: list(ids) for label, ids in learning.exemplars.items()}
    return trainer


def _stored_state(trainer: Trainer, data: LearningData) -> dict[str, Any]:
    """The fields `exemplars` and `tensors` of `LearningState`, taken from a trainer."""
    if isinstance(trainer, ClosedFormTrainer):
        return {"exemplars": {}, "tensors": trainer.tensors()}
    assert isinstance(trainer, GradientTrainer)
    tensors = trainer.method_tensors()
    if trainer.memory is None:
        return {"exemplars": {}, "tensors": tensors}
    ids = {label: tuple(clip_ids) for label, clip_ids in trainer.memory.clip_ids.items()}
    rows = data.rows_of_ids(list(dict.fromkeys(clip_id for clip_ids in ids.values() for clip_id in clip_ids)))
    if data.modality.has_audio:
        tensors["exemplars.audio"] = torch.from_numpy(data.store.audio(rows))
    if data.modality.has_visual:
        tensors["exemplars.visual"] = torch.from_numpy(data.store.visual(rows))
    return {"exemplars": ids, "tensors": tensors}


def state_of_run(trainer: Trainer, data: TaskData, settings: LearningSettings) -> LearningState:
    """The learning state of a finished run, which is saved with its model for later updates."""
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
        **_stored_state(trainer, data),
    )
