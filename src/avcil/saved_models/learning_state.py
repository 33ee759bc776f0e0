"""What a saved model needs, besides itself, to learn on: how it was taught, and what of the past it leans on.

Closed form: the statistics, which hold every clip ever seen. Rehearsal: the exemplars' features, E clips with sound
(E, Da) and picture (E, T, S, Dv). A teacher is the model itself, so nothing is kept for it.

    learning.json         settings, steps, counts, exemplar ids by class
    learning.safetensors  the tensors
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from avcil.errors import InputError
from avcil.models import checks
from avcil.models.base import Model
from avcil.saved_models.learning_settings import LearningSettings


@dataclass(frozen=True, kw_only=True)
class LearningState:
    """Never changed in place: learning makes a new one."""

    settings: LearningSettings
    steps: tuple[tuple[str, ...], ...]
    """The classes in the order in which they were learnt, step by step."""
    counts: Mapping[str, int]
    """Clips learnt of each class."""
    exemplars: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Ids of the clips kept, by class, in the order of their choice."""
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    """Statistics; or "exemplars.audio" and "exemplars.visual", a row an id of `exemplar_ids`."""

    @property
    def exemplar_ids(self) -> list[str]:
        """Ids of all clips kept, each once: herding may choose a clip twice."""
        return list(dict.fromkeys(clip_id for ids in self.exemplars.values() for clip_id in ids))

    def to_dict(self) -> dict[str, Any]:
        """All but the tensors, as JSON."""
        return {
            "settings": self.settings.to_dict(),
            "steps": [list(step) for step in self.steps],
            "counts": dict(self.counts),
            "exemplars": {label: list(ids) for label, ids in self.exemplars.items()},
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str) -> LearningState:
        """What `to_dict` wrote; InputError naming `where` if it is something else."""
        try:
            checks.finite(tensors)
            counts, exemplars = _object(value, "counts"), _object(value, "exemplars")
            return cls(
                settings=LearningSettings.from_dict(_object(value, "settings")),
                steps=tuple(tuple(checks.labels(step)) for step in _lists(value, "steps")),
                counts={label: checks.whole_number(counts, label, most=2**40) for label in counts},
                exemplars={label: tuple(_texts(exemplars, label)) for label in exemplars},
                tensors=dict(tensors),
            )
        except InputError as error:
            raise InputError(
                f"{where} is damaged ({error}). The model still answers without it: "
                "remove that file to use it so, or take the model from where it came"
            ) from None


def _object(holder: Any, name: str) -> dict[str, Any]:
    value = checks.entry(holder, name)
    if not isinstance(value, dict):
        raise InputError(f"{name} is {value!r:.60}; it must be a JSON object")
    return value


def _lists(holder: Any, name: str) -> list[Any]:
    value = checks.entry(holder, name)
    if not isinstance(value, list):
        raise InputError(f"{name} is {value!r:.60}; it must be a list")
    return value


def _texts(holder: Any, name: str) -> list[str]:
    values = _lists(holder, name)
    if not all(isinstance(text, str) and text for text in values):
        raise InputError(f"{name} is {values!r:.60}; it must be a list of texts")
    return values


def check_learning(state: LearningState, labels: Sequence[str], model: Model) -> None:
    """Refuse a state that does not fit the model: other classes, another modality, exemplars of another form.

    Raises:
        InputError: With what does not fit.
    """
    if state.settings.modality != model.modality:
        raise InputError(f"its modality is {state.settings.modality!r}, the model's {model.modality!r}")
    if sorted(label for step in state.steps for label in step) != sorted(labels):
        raise InputError("its steps hold other classes than labels.json, or one twice")
    for name, holder in (("counts", state.counts), ("exemplars", state.exemplars)):
        if other := set(holder) - set(labels):
            raise InputError(f"{name} has the class {min(other)!r:.60}, which labels.json lacks")
    if set(state.counts) != set(labels):
        raise InputError("counts lacks a class of labels.json")
    ids, kept = state.exemplar_ids, {n: t for n, t in state.tensors.items() if n.startswith("exemplars.")}
    widths = getattr(model, "input_widths", {})
    if ids and kept.keys() != {f"exemplars.{name}" for name in widths}:
        raise InputError(f"it names {len(ids)} exemplars, but has the tensors {', '.join(kept) or 'none'}")
    for name, tensor in kept.items():
        form = {"exemplars.audio": 2, "exemplars.visual": 4}.get(name)
        right = tensor.ndim == form and tensor.is_floating_point() and len(tensor) == len(ids)
        if not right or tensor.shape[-1] != widths.get(name.removeprefix("exemplars.")):
            raise InputError(
                f"it names {len(ids)} exemplars; the tensor {name} has shape {tuple(tensor.shape)}"
            )
