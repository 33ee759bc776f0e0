"""What a saved model needs for further learning, in addition to the model: settings, and statistics or exemplars.

A closed-form method stores statistics of all clips. A rehearsal method stores the features of its E exemplars, audio
(E, Da) and visual (E, T, S, Dv). The teacher of a distillation method is the model itself.

    learning.json         settings, steps, counts, exemplar ids by class
    learning.safetensors  the tensors
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from avcil.data.clips import parse_labels
from avcil.errors import InputError
from avcil.methods.model import Model
from avcil.saved_models.learning_settings import LearningSettings
from avcil.utils import checks


@dataclass(frozen=True, kw_only=True)
class LearningState:
    """Immutable: learning creates a new state."""

    settings: LearningSettings
    steps: tuple[tuple[str, ...], ...]
    """The classes of each step."""
    counts: Mapping[str, int]
    """Number of learned clips by class."""
    exemplars: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Ids of the exemplars by class, in the order of selection."""
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    """Statistics; or "exemplars.audio" and "exemplars.visual", one row for each id of `exemplar_ids`."""

    @property
    def exemplar_ids(self) -> list[str]:
        """Unique ids of the exemplars; herding can select a clip twice."""
        return list(dict.fromkeys(clip_id for ids in self.exemplars.values() for clip_id in ids))

    def to_dict(self) -> dict[str, Any]:
        """As JSON, without tensors."""
        return {
            "settings": self.settings.to_dict(),
            "steps": [list(step) for step in self.steps],
            "counts": dict(self.counts),
            "exemplars": {label: list(ids) for label, ids in self.exemplars.items()},
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str) -> LearningState:
        """Inverse of `to_dict`; InputError with the file name `where` for an invalid value."""
        try:
            checks.finite(tensors)
            counts, exemplars = checks.typed(value, "counts", dict), checks.typed(value, "exemplars", dict)
            return cls(
                settings=LearningSettings.from_dict(checks.typed(value, "settings", dict)),
                steps=tuple(tuple(parse_labels(step)) for step in checks.typed(value, "steps", list)),
                counts={label: checks.whole_number(counts, label, most=2**40) for label in counts},
                exemplars={label: tuple(checks.strings(exemplars, label)) for label in exemplars},
                tensors=dict(tensors),
            )
        except InputError as error:
            raise InputError(
                f"{where} is damaged ({error}). The model can predict without this file: remove it, "
                "or copy the model again from its source"
            ) from None


def check_learning(state: LearningState, labels: Sequence[str], model: Model) -> None:
    """Check that a state has the classes and the modality of the model, and exemplars of the right shapes.

    Raises:
        InputError: It does not fit the model.
    """
    if state.settings.modality != model.modality:
        raise InputError(f"its modality is {state.settings.modality!r}, the model's {model.modality!r}")
    if sorted(label for step in state.steps for label in step) != sorted(labels):
        raise InputError("its steps have other classes than labels.json, or a class twice")
    for name, holder in (("counts", state.counts), ("exemplars", state.exemplars)):
        if other := set(holder) - set(labels):
            raise InputError(f"{name} has the class {min(other)!r:.60}, which is not in labels.json")
    if set(state.counts) != set(labels):
        raise InputError("counts lacks a class of labels.json")
    prefix = "exemplars."
    ids, stored = state.exemplar_ids, {n: t for n, t in state.tensors.items() if n.startswith(prefix)}
    widths = getattr(model, "input_widths", {})
    if ids and stored.keys() != {prefix + name for name in widths}:
        raise InputError(f"it has ids of {len(ids)} exemplars, but the tensors {', '.join(stored) or 'none'}")
    for name, tensor in stored.items():
        ndim = {"exemplars.audio": 2, "exemplars.visual": 4}.get(name)
        fits = tensor.ndim == ndim and tensor.is_floating_point() and len(tensor) == len(ids)
        if not fits or tensor.shape[-1] != widths.get(name.removeprefix(prefix)):
            raise InputError(
                f"it has ids of {len(ids)} exemplars, but the tensor {name} has the shape {tuple(tensor.shape)}"
            )
