"""Whether an ONNX file answers as the model does that it was made of: onnxruntime beside PyTorch.

B clips, T time slices, S spatial tokens, Da and Dv widths of sound and picture, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import onnxruntime
import torch

from avcil.data.modality import Modality
from avcil.errors import AvcilError, InputError
from avcil.features import FeatureStore
from avcil.models.base import Model
from avcil.utils.rng import generator

TOLERANCE = 1e-5
"""Of probabilities and p-values."""
SCORE_TOLERANCE = 1e-4
"""Of scores, as a part of a clip's largest one: float32 has 7 digits, and sums run in another order."""
CLIPS = 256
"""Of a store's that are asked about, at most."""
BATCH = 32
Parts = tuple[torch.Tensor | None, torch.Tensor | None]
"""audio (B, Da) and visual (B, T, S, Dv), float32; None is what the clips lack."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The ONNX file's answers beside the model's."""

    inputs: str
    """What they were asked about."""
    clips: int
    probabilities: float
    """Largest difference of a probability, or of a p-value where there are any."""
    scores: float
    """Largest difference of a score, over the clip's largest score (at least 1)."""
    same_answers: int
    """Clips whose likeliest class is the same."""

    def __str__(self) -> str:
        return (
            f"{self.clips} {self.inputs}: probabilities differ by {self.probabilities:.1e} at most, scores by "
            f"{self.scores:.1e} of the largest; {self.same_answers} answers of {self.clips} are the same"
        )


def random_clips(shapes: dict[str, tuple[int, ...]], given: Modality) -> Iterator[Parts]:
    """Standard normal clips, one and several, on the grid of training and on others."""
    slices, tokens, width = shapes.get("visual", (1, 1, 1))
    draw = generator(0, "clips to compare an export by")
    for count, t, s in ((1, slices, tokens), (7, slices, tokens), (3, 1, 1), (2, slices + 1, tokens + 2)):
        audio = torch.randn(count, *shapes["audio"], generator=draw) if given.has_audio else None
        yield audio, torch.randn(count, t, s, width, generator=draw) if given.has_visual else None


def stored_clips(store: FeatureStore, shapes: dict[str, tuple[int, ...]], given: Modality) -> Iterator[Parts]:
    """Clips of a store that have what is needed, evenly over it; InputError if its features are others."""
    there = {
        "audio": store.audio_width,
        "visual": None if store.visual_shape is None else store.visual_shape[-1],
    }
    for name in given.parts:
        if there[name] != shapes[name][-1]:
            raise InputError(
                f"the store {store.path} has no {name} features of width {shapes[name][-1]}, which this model takes"
            )
    rows = [n for n, clip in enumerate(store.clips) if clip.has(given)]
    chosen = [rows[at] for at in np.linspace(0, len(rows) - 1, min(len(rows), CLIPS)).astype(int)]
    for start in range(0, len(chosen), BATCH):
        part = chosen[start : start + BATCH]
        audio = torch.from_numpy(store.audio(part)).float() if given.has_audio else None
        yield audio, torch.from_numpy(store.visual(part)).float() if given.has_visual else None


class Checker:
    """An ONNX file at work beside its model."""

    def __init__(self, content: bytes, model: Model, dtype: torch.dtype) -> None:
        """`dtype`: in which the model takes its inputs."""
        self.model, self.dtype = model, dtype
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors alone
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def compare(self, inputs: str, batches: Iterable[Parts]) -> Comparison:
        """Both asked about the same clips; AvcilError where they differ by more than the tolerance."""
        clips, same, probabilities, scores = 0, 0, 0.0, 0.0
        for parts in batches:
            said, expected = self._onnx(parts), self._torch(parts)
            clips += len(expected["scores"])
            same += int((said["scores"].argmax(axis=1) == expected["scores"].argmax(axis=1)).sum())
            for name in expected.keys() - {"scores"}:
                probabilities = _larger(probabilities, said[name] - expected[name])
            largest = np.maximum(np.abs(expected["scores"]).max(axis=1, keepdims=True), 1)
            scores = _larger(scores, (said["scores"] - expected["scores"]) / largest)
        found = Comparison(
            inputs=inputs, clips=clips, probabilities=probabilities, scores=scores, same_answers=same
        )
        if not (probabilities <= TOLERANCE and scores <= SCORE_TOLERANCE):  # NaN, too
            raise AvcilError(
                f"the ONNX file would not answer as the model does; nothing was written. {found}; allowed are "
                f"{TOLERANCE:.0e} and {SCORE_TOLERANCE:.0e}. Please report this with the model's config.json and "
                f"onnxruntime's version, {onnxruntime.__version__}"
            )
        return found

    def _onnx(self, parts: Parts) -> dict[str, np.ndarray]:
        feed = zip(("audio", "visual"), parts, strict=True)
        names = [output.name for output in self._session.get_outputs()]
        values = self._session.run(names, {name: part.numpy() for name, part in feed if part is not None})
        return {name: value.astype(np.float64) for name, value in zip(names, values, strict=True)}

    def _torch(self, parts: Parts) -> dict[str, np.ndarray]:
        audio, visual = (None if part is None else part.to(self.dtype) for part in parts)
        with torch.inference_mode():
            scores = self.model.scores(audio, visual).double()
            p_values = getattr(self.model, "p_values", lambda *_: None)(audio, visual)
        found = {"scores": scores.numpy(), "probabilities": scores.softmax(dim=1).numpy()}
        return found if p_values is None else found | {"p_values": p_values.double().numpy()}


def _larger(before: float, difference: np.ndarray) -> float:
    """The largest of all; NaN, where there is one."""
    return float(np.maximum(before, np.abs(difference).max(initial=0.0)))
