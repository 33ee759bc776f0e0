"""The recogniser in use: load what a run left, and ask it about files.

B clips, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avcil.errors import InputError
from avcil.models.base import Model
from avcil.models.saved import load_model
from avcil.serving.clip_features import ClipFeatures, ClipReader


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a recogniser says of one clip."""

    path: str
    label: str
    probabilities: dict[str, float]
    """Of every class, likeliest first."""
    notes: str
    """What was odd about the file; empty if nothing was."""

    @property
    def probability(self) -> float:
        """Of `label`."""
        return self.probabilities[self.label]


class Recognizer:
    """A trained model with its class names and the encoders that its features come from.

    `Recognizer.load("runs/demo").predict(["clip.mp4"])` gives `["ball-bell"]`. Needs neither the training data
    nor the feature store.
    """

    def __init__(self, model: Model, labels: Sequence[str], description: Mapping[str, Any]) -> None:
        self.model, self.description = model, dict(description)
        self._labels = tuple(labels)

    @classmethod
    def load(cls, folder: Path | str) -> Recognizer:
        """Load from a finished run directory or from its `model` folder."""
        folder = Path(folder)
        if not folder.is_dir():
            raise InputError(f"there is no folder {folder}; give a run directory as `avcil train` leaves it")
        if (folder / "env.json").exists():  # a run directory, from its first moment on
            if not (folder / "results.json").exists():
                raise InputError(
                    f"the run in {folder} is not finished; run its avcil train command again to go on"
                )
            folder = folder / "model"
        return cls(*load_model(folder))

    @property
    def classes_(self) -> tuple[str, ...]:
        """The classes it knows, in the order in which it learnt them."""
        return self._labels

    @property
    def modality(self) -> str:
        """What it looks at: audio-visual, audio or visual."""
        return self.model.modality

    @cached_property
    def reader(self) -> ClipReader:
        """Makes features of files."""
        return ClipReader(self.description, modality=self.modality)

    def scores(self, features: ClipFeatures) -> Tensor:
        """Scores (1, C) of one clip's features."""
        dtype = next(iter(self.model.tensors().values())).dtype
        parts = (None if part is None else part.to(dtype) for part in (features.audio, features.visual))
        with torch.inference_mode():
            return self.model.scores(*parts)

    def answer(self, path: Path | str, *, start: float | None = None, end: float | None = None) -> Answer:
        """Ask about one file, or about the seconds [start, end] of it; InputError if it cannot be read."""
        return self.answer_features(path, self.reader.features(path, start=start, end=end))

    def answer_features(self, path: Path | str, features: ClipFeatures) -> Answer:
        """Answer for a file whose features are made already."""
        probabilities = self.scores(features).double().softmax(dim=1)[0]
        order = probabilities.argsort(descending=True, stable=True).tolist()
        ranked = {self._labels[number]: float(probabilities[number]) for number in order}
        return Answer(
            path=str(path), label=self._labels[order[0]], probabilities=ranked, notes=features.read.reason
        )

    def predict(self, paths: Sequence[Path | str]) -> list[str]:
        """The likeliest class of each file."""
        return [self.answer(path).label for path in _several(paths)]

    def predict_proba(self, paths: Sequence[Path | str]) -> np.ndarray:
        """Probabilities (B, C), columns in the order of `classes_`."""
        answers = [self.answer(path).probabilities for path in _several(paths)]
        return np.array([[answer[label] for label in self._labels] for answer in answers]).reshape(
            -1, len(self._labels)
        )


def _several(paths: Sequence[Path | str]) -> Sequence[Path | str]:
    """Refuse one path, whose letters would else be taken for files."""
    if isinstance(paths, str | Path):
        raise InputError(f"give a list of files, [{str(paths)!r}], or ask answer({str(paths)!r})")
    return paths
