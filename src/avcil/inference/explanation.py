"""Explain a prediction: attention or sensitivity over the frames, and contributions of audio and visual features.

F frames of H x W pixels, T time slices, S = h x w spatial tokens. Contributions are defined in `contributions.py`.

For networks with attention, the map is the attention. For other models it is the sensitivity |x_ts . d margin / d x_ts|
of each token x_ts, divided by the sum over all tokens. The margin is the score of the predicted class minus that of the
second one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from avcil.errors import InputError
from avcil.inference.clip_features import ClipFeatures, ClipReader, Source, name_of
from avcil.inference.contribution_table import ContributionRow, ContributionTable
from avcil.inference.contributions import Contributions, contributions, margin
from avcil.inference.network_attention import network_attention
from avcil.inference.prediction import (
    Predict,
    Prediction,
    model_input,
    predict_features,
    usable_features,
    without_outliers,
)
from avcil.media.attention_footer import footer
from avcil.media.attention_overlay import draw_attention
from avcil.media.overlay import enlarged
from avcil.methods.model import Model
from avcil.nn.network import Network
from avcil.saved_models.folder import SavedModel

SHOWN_SIDE = 384
"""Pixels of the short side of a drawn frame; larger frames keep their size."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """The explanation of one prediction."""

    prediction: Prediction
    runner_up: str
    """The second most probable class, with which contributions compare; the predicted class if there is only one."""
    margin: float
    contribution_kind: Literal["additive", "ablation"] | None
    """How contributions are computed (see `contributions.py`); None if there are none."""
    contributions: dict[str, float]
    """Contributions to the margin of "audio", "visual" and, if they are additive, the "bias" term."""
    encoder_contributions: dict[str, dict[str, float]]
    """By modality and encoder, for modalities with several encoders."""
    alone: dict[str, tuple[str, float]]
    """The prediction from each modality alone, and its probability; empty with a joint encoder."""
    map_kind: Literal["attention", "sensitivity"] | None
    """Kind of the maps; None without visual features."""
    spatial: np.ndarray | None
    """(T, h, w); each slice sums to one."""
    temporal: np.ndarray | None
    """(T,); sums to one."""
    frames: np.ndarray | None
    """(F, H, W, 3) uint8; None if only features are available."""
    waveform: np.ndarray | None
    """Waveform (N,) float32."""
    sample_rate: int | None
    """In hertz."""
    seconds: float | None
    """Duration of the clip."""

    @property
    def frame_times(self) -> np.ndarray | None:
        """Time (F,) of each frame in seconds; None if the duration is not known."""
        if self.frames is None or not self.seconds:
            return None
        return (np.arange(len(self.frames)) + 0.5) * self.seconds / len(self.frames)

    def contribution_table(self) -> ContributionTable:
        """The contributions as rows: each modality and its encoders, and the bias term."""
        rows = []
        for name in ("audio", "visual"):
            if name in self.contributions:
                remark = ""
                if name in self.alone:
                    label, probability = self.alone[name]
                    remark = f"prediction from {name} alone: {label}, {100 * probability:.0f} %"
                rows.append(ContributionRow(name=name, value=self.contributions[name], remark=remark))
            for encoder, value in self.encoder_contributions.get(name, {}).items():
                rows.append(ContributionRow(name=encoder, value=value, is_encoder=True))
        if "bias" in self.contributions:
            rows.append(ContributionRow(name="bias term", value=self.contributions["bias"]))
        return ContributionTable(
            label=self.prediction.label,
            second=self.runner_up,
            difference=self.margin,
            kind=self.contribution_kind,
            rows=rows,
        )

    def draw(self) -> list[np.ndarray]:
        """Draw the map over each frame, with the color scale and the temporal weights below.

        Returns:
            Images (F, H', W', 3) uint8; H' and W' are even, W' is at least `SHOWN_SIDE`.

        Raises:
            InputError: The clip has no frames.
        """
        if self.frames is None or self.spatial is None or self.temporal is None:
            raise InputError(f"{self.prediction.path}: there are no frames to draw on")
        drawn, scale = draw_attention([enlarged(frame, SHOWN_SIDE) for frame in self.frames], self.spatial)
        slices = len(self.spatial)
        return [
            np.concatenate(
                [frame, footer(frame.shape[1], scale, self.temporal, number * slices // len(drawn))]
            )
            for number, frame in enumerate(drawn)
        ]

    def write_video(self, path: Path) -> None:
        """Write the images of `draw` and the audio as an MP4 file with the duration of the clip."""
        from avcil.media import write_video

        drawn = self.draw()
        fps = len(drawn) / self.seconds if self.seconds else 8.0
        has_waveform = self.waveform is not None and self.sample_rate is not None
        write_video(
            path,
            drawn,
            min(max(fps, 0.1), 1000),
            waveform=self.waveform if has_waveform else None,
            sample_rate=self.sample_rate if has_waveform else None,
        )


def explain(state: SavedModel, reader: ClipReader, clip: Source, predict: Predict) -> Explanation:
    """Predict a clip and explain the prediction; InputError if it cannot be read."""
    given = clip if isinstance(clip, ClipFeatures) else reader.features(clip)
    usable = usable_features(state.model, name_of(clip), given)
    features = without_outliers(state, usable)
    prediction = predict(name_of(clip), given)
    ranked = list(prediction.probabilities)
    runner_up = ranked[min(1, len(ranked) - 1)]
    pair = state.labels.index(prediction.label), state.labels.index(runner_up)
    audio, visual = model_input(state, features)
    kind, maps = _maps(reader, state.model, features, audio, visual, pair)
    parts = Contributions() if features.is_joint else contributions(state, audio, visual, pair)
    read = features.read
    return Explanation(
        prediction=prediction,
        runner_up=runner_up,
        margin=margin(state.model, audio, visual, pair),
        contribution_kind=parts.kind,
        contributions=parts.modalities,
        encoder_contributions=parts.encoders,
        alone={} if features.is_joint else dict(_alone(state, usable)),
        map_kind=kind,
        spatial=None if maps is None else maps[0],
        temporal=None if maps is None else maps[1],
        frames=None if read is None else read.frames,
        waveform=None if read is None else read.waveform,
        sample_rate=reader.decode_spec.sample_rate if read is not None else None,
        seconds=None if read is None else _seconds(reader, features),
    )


def _seconds(reader: ClipReader, features: ClipFeatures) -> float | None:
    read, rate = features.read, reader.decode_spec.sample_rate
    assert read is not None
    if read.seconds is None and read.waveform is not None and rate:
        return len(read.waveform) / rate
    return read.seconds


def _alone(state: SavedModel, features: ClipFeatures) -> Iterator[tuple[str, tuple[str, float]]]:
    """The prediction from each modality of the clip alone, if the model supports it."""
    parts = {
        "audio": replace(features, read=None, visual=None),
        "visual": replace(features, read=None, audio=None),
    }
    for name, part in parts.items():
        if getattr(features, name) is not None and name in state.model.input_modalities:
            prediction = predict_features(state, name_of(part), part)
            yield name, (prediction.label, prediction.probability)


def _maps(
    reader: ClipReader,
    model: Model,
    features: ClipFeatures,
    audio: Tensor | None,
    visual: Tensor | None,
    pair: tuple[int, int],
) -> tuple[Literal["attention", "sensitivity"] | None, tuple[np.ndarray, np.ndarray] | None]:
    if visual is None or not model.modality.has_visual:
        return None, None
    if isinstance(model, Network) and audio is not None:
        spatial, temporal = network_attention(model, audio, visual)
        kind: Literal["attention", "sensitivity"] = "attention"
    else:
        spatial, temporal = _sensitivity(model, audio, visual, pair)
        kind = "sensitivity"
    slices, tokens = spatial.shape
    encoder = reader.encoders.visual if features.read is not None else None
    grid = (1, tokens) if encoder is None else encoder.spatial_grid
    return kind, (spatial.reshape(slices, *grid), temporal)


def _sensitivity(
    model: Model, audio: Tensor | None, visual: Tensor, pair: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Sensitivity |x_ts . d margin / d x_ts|: spatial (T, S), each slice divided by its sum, and temporal (T,)."""
    with torch.inference_mode(False), torch.enable_grad():
        tokens = visual.clone().requires_grad_()
        scores = model.scores(None if audio is None else audio.clone(), tokens)[0]
        target = scores[pair[0]] - scores[pair[1]] if len(scores) > 1 else scores[0]
        (gradient,) = torch.autograd.grad(target, tokens)
    # The standard deviation of equal tokens has no gradient.
    weight = (gradient.nan_to_num(0.0, 0.0, 0.0) * tokens.detach()).sum(dim=3).abs()[0].double().numpy()
    weight = weight if weight.sum() > 0 else np.ones_like(weight)
    temporal = weight.sum(axis=1)
    uniform = np.full_like(weight, 1 / weight.shape[1])
    spatial = np.divide(weight, temporal[:, None], out=uniform, where=temporal[:, None] > 0)
    return spatial, temporal / temporal.sum()
