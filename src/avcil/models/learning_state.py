"""What a saved model needs, besides itself, to learn on: how it was taught, and what of the past it leans on.

Closed form: the statistics, which hold every clip ever seen. Rehearsal: the exemplars' features, E clips with sound
(E, Da) and picture (E, T, S, Dv). A teacher is the model itself, so nothing is kept for it.

    learning.json         settings, steps, counts, exemplar ids by class
    learning.safetensors  the tensors
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from avcil.errors import InputError


@dataclass(frozen=True, kw_only=True)
class LearningState:
    """Never changed in place: learning makes a new one."""

    settings: Mapping[str, Any]
    """method, method_options, modality, seed and what else of `TrainConfig` a step depends on."""
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
            "settings": dict(self.settings),
            "steps": [list(step) for step in self.steps],
            "counts": dict(self.counts),
            "exemplars": {label: list(ids) for label, ids in self.exemplars.items()},
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str) -> LearningState:
        """What `to_dict` wrote; InputError naming `where` if it is something else."""
        try:
            state = cls(
                settings=dict(value["settings"]),
                steps=tuple(tuple(step) for step in value["steps"]),
                counts={label: int(count) for label, count in value["counts"].items()},
                exemplars={label: tuple(ids) for label, ids in value["exemplars"].items()},
                tensors=dict(tensors),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise InputError(
                f"{where} is damaged ({type(error).__name__}: {error}). The model still answers without it: "
                "remove that file to use it so, or take the model from where it came"
            ) from None
        rows = {len(tensor) for name, tensor in tensors.items() if name.startswith("exemplars.")}
        if rows - {len(state.exemplar_ids)}:
            raise InputError(f"{where} names {len(state.exemplar_ids)} exemplars, its tensors hold {rows}")
        return state
