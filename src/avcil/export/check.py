"""Compare an ONNX file, run with ONNX Runtime, with the PyTorch model that it was exported from.

B clips, T time slices, S spatial tokens, Da and Dv widths of audio and visual features, C classes.
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
from avcil.methods.model import Model
from avcil.utils.rng import generator

TOLERANCE = 1e-5
"""Of probabilities and p-values."""
SCORE_TOLERANCE = 1e-4
"""Of scores, relative to the largest score of a clip: float32 has 7 digits, and the order of sums differs."""
_MAX_CLIPS = 256
"""Number of clips of a feature store."""
_BATCH_SIZE = 32
Inputs = tuple[torch.Tensor | None, torch.Tensor | None]
"""audio (B, Da) and visual (B, T, S, Dv), float32; None for a missing modality."""


@dataclass(frozen=True, kw_only=True)
class ExportComparison:
    """Differences between the outputs of the ONNX file and of the model."""

    inputs: str
    """Description of the clips."""
    clips: int
    probabilities: float
    """Largest difference of probabilities and p-values."""
    scores: float
    """Largest difference of scores, relative to the largest score of the clip (at least 1)."""
    same_predictions: int
    """Number of clips with the same predicted class."""

    def __str__(self) -> str:
        return (
            f"{self.clips} {self.inputs}: probabilities differ by at most {self.probabilities:.1e}, scores by "
            f"{self.scores:.1e} of the largest; {self.same_predictions} of {self.clips} predictions are the same"
        )


def random_clips(shapes: dict[str, tuple[int, ...]], modality: Modality) -> Iterator[Inputs]:
    """Batches of standard normal features, on the token grid of training and on others."""
    slices, tokens, width = shapes.get("visual", (1, 1, 1))
    draw = generator(0, "clips to compare an export by")
    for count, t, s in ((1, slices, tokens), (7, slices, tokens), (3, 1, 1), (2, slices + 1, tokens + 2)):
        audio = torch.randn(count, *shapes["audio"], generator=draw) if modality.has_audio else None
        yield audio, torch.randn(count, t, s, width, generator=draw) if modality.has_visual else None


def stored_clips(
    store: FeatureStore, shapes: dict[str, tuple[int, ...]], modality: Modality
) -> Iterator[Inputs]:
    """Batches of clips of a feature store, evenly spaced; InputError if its features have other widths."""
    widths = {
        "audio": store.audio_width,
        "visual": None if store.visual_shape is None else store.visual_shape[-1],
    }
    for name in modality.parts:
        if widths[name] != shapes[name][-1]:
            raise InputError(
                f"the store {store.path} has no {name} features of width {shapes[name][-1]}, which this model needs"
            )
    rows = [n for n, clip in enumerate(store.clips) if clip.has(modality)]
    rows = [rows[i] for i in np.linspace(0, len(rows) - 1, min(len(rows), _MAX_CLIPS)).astype(int)]
    for start in range(0, len(rows), _BATCH_SIZE):
        batch = rows[start : start + _BATCH_SIZE]
        audio = torch.from_numpy(store.audio(batch)).float() if modality.has_audio else None
        yield audio, torch.from_numpy(store.visual(batch)).float() if modality.has_visual else None


class Checker:
    """Compares an ONNX file with a model.

    Args:
        content: The ONNX file.
        model: The model.
        dtype: Of the model's inputs.
    """

    def __init__(self, content: bytes, model: Model, dtype: torch.dtype) -> None:
        self.model, self.dtype = model, dtype
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors only
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def compare(self, name: str, batches: Iterable[Inputs]) -> ExportComparison:
        """Compare the outputs for some clips.

        Args:
            name: Description of the clips.
            batches: The clips.

        Raises:
            AvcilError: The outputs differ by more than the tolerance.
        """
        clips, same, probabilities, scores = 0, 0, 0.0, 0.0
        for inputs in batches:
            actual, expected = self._onnx(inputs), self._torch(inputs)
            clips += len(expected["scores"])
            same += int((actual["scores"].argmax(axis=1) == expected["scores"].argmax(axis=1)).sum())
            for output in expected.keys() - {"scores"}:
                probabilities = _larger(probabilities, actual[output] - expected[output])
            largest = np.maximum(np.abs(expected["scores"]).max(axis=1, keepdims=True), 1)
            scores = _larger(scores, (actual["scores"] - expected["scores"]) / largest)
        comparison = ExportComparison(
            inputs=name, clips=clips, probabilities=probabilities, scores=scores, same_predictions=same
        )
        if not (probabilities <= TOLERANCE and scores <= SCORE_TOLERANCE):  # also false for NaN
            raise AvcilError(
                f"the outputs of the ONNX file differ from the model's, so it was not written. {comparison}; allowed "
                f"are {TOLERANCE:.0e} and {SCORE_TOLERANCE:.0e}. Please report this with the model's config.json and "
                f"the version of onnxruntime, {onnxruntime.__version__}"
            )
        return comparison

    def _onnx(self, inputs: Inputs) -> dict[str, np.ndarray]:
        feed = zip(("audio", "visual"), inputs, strict=True)
        names = [output.name for output in self._session.get_outputs()]
        values = self._session.run(names, {name: part.numpy() for name, part in feed if part is not None})
        return {name: value.astype(np.float64) for name, value in zip(names, values, strict=True)}

    def _torch(self, inputs: Inputs) -> dict[str, np.ndarray]:
        audio, visual = (None if part is None else part.to(self.dtype) for part in inputs)
        with torch.inference_mode():
            scores = self.model.scores(audio, visual).double()
            p_values = getattr(self.model, "p_values", lambda *_: None)(audio, visual)
        outputs = {"scores": scores.numpy(), "probabilities": scores.softmax(dim=1).numpy()}
        return outputs if p_values is None else outputs | {"p_values": p_values.double().numpy()}


def _larger(before: float, difference: np.ndarray) -> float:
    """The maximum of `before` and the absolute differences; NaN if one is NaN."""
    return float(np.maximum(before, np.abs(difference).max(initial=0.0)))
