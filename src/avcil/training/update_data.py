"""The clips of an update of a saved model: new clips and exemplars, with the interface of a run's clips.

n new clips, E exemplars, T time slices, S spatial tokens, Da and Dv widths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from avcil.data.presence import Presence
from avcil.datasets import Benchmark
from avcil.encoders.parts import EncoderPart
from avcil.features import StoredClip
from avcil.saved_models.learning_settings import LearningSettings
from avcil.saved_models.learning_state import LearningState
from avcil.training.device_config import DeviceConfig
from avcil.training.learning_data import LearningData
from avcil.training.memory_pool import Budget, device_memory


@dataclass(frozen=True, kw_only=True)
class UpdateClips:
    """Labeled features of the clips of an update."""

    ids: Sequence[str]
    labels: Sequence[str]
    audio: np.ndarray | None
    """(n, Da), in the dtype of the features of the training"""
    visual: np.ndarray | None
    """(n, T, S, Dv)"""
    presence: Presence
    """Which clips have audio and visual features; the rows of the others are not used."""

    def sorted(self) -> UpdateClips:
        """The same clips, sorted by id."""
        order = sorted(range(len(self.ids)), key=lambda i: self.ids[i])
        return UpdateClips(
            ids=[self.ids[i] for i in order],
            labels=[self.labels[i] for i in order],
            audio=None if self.audio is None else self.audio[order],
            visual=None if self.visual is None else self.visual[order],
            presence=self.presence.take(order),
        )


class UpdateFeatures:
    """The features of the new clips, then of the exemplars, with the interface of a feature store."""

    def __init__(self, new: UpdateClips, learning: LearningState) -> None:
        exemplar_ids = learning.exemplar_ids
        label_of = {clip_id: label for label, ids in learning.exemplars.items() for clip_id in ids}
        ids, labels = (
            [*new.ids, *exemplar_ids],
            [*new.labels, *(label_of[clip_id] for clip_id in exemplar_ids)],
        )
        exemplar = new.visual is not None, new.audio is not None  # exemplars are complete
        pairs = zip(new.presence.visual.tolist(), new.presence.audio.tolist(), strict=True)
        self.clips = [
            StoredClip(
                clip_id=clip_id,
                label=label,
                split="train",
                path="",
                start=None,
                end=None,
                visual=visual,
                audio=audio,
            )
            for clip_id, label, (visual, audio) in zip(
                ids, labels, [*pairs, *[exemplar] * len(exemplar_ids)], strict=True
            )
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
        """Empty: the saved statistics of a method contain its parts."""
        return ()

    def constants(self, modality: str) -> None:
        """None: the saved statistics contain the scaling of the features."""

    def audio(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        assert self._audio is not None
        return self._audio[np.asarray(rows, dtype=np.int64)]

    def visual(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        assert self._visual is not None
        return self._visual[np.asarray(rows, dtype=np.int64)]


def _joined(new: np.ndarray | None, exemplars: Tensor | None) -> np.ndarray | None:
    return new if new is None or exemplars is None else np.concatenate([new, exemplars.numpy()])


class UpdateData(LearningData):
    """The new clips as the clips of the last step; exemplars are found by their ids.

    Updates run on the CPU; a network that was trained in bfloat16 is updated in float32.
    """

    def __init__(
        self,
        features: UpdateFeatures,
        steps: Benchmark,
        *,
        new: int,
        counts: Mapping[str, int],
        settings: LearningSettings,
        all_tokens: bool,
    ) -> None:
        precision = None if settings.precision == "bfloat16" else settings.precision
        device_config = DeviceConfig.of("cpu", precision)
        super().__init__(
            features,
            steps,
            modality=settings.modality,
            device_config=device_config,
            needs_all_tokens=all_tokens,
        )
        self._new, self._counts = new, counts
        self.budget = Budget.host_only(device_memory(device_config.device))

    def clips_before(self, label: str, task: int) -> int:
        return self._counts.get(label, 0)

    def rows(self, split: str, task: int) -> list[int]:
        last = task == len(self.benchmark.steps) - 1
        return list(range(self._new)) if split == "train" and last else []
