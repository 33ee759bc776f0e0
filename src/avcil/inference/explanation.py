"""What an answer is based on: where in the frames the model looked, and what audio and visual features contributed.

F frames of H x W pixels, T time slices, S = h x w spatial tokens. Contributions are defined in `contributions.py`.

The map is the attention of networks that have one. Of other models it is the sensitivity: the share of each token x_ts
in sum |x_ts . d margin / d x_ts|, where the margin is the score of the predicted class less that of the second one.
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
from avcil.inference.answering import (
    DEFAULT_ALPHA,
    Answer,
    Thresholds,
    answer_features,
    answerable,
    given_modality,
    model_input,
    no_thresholds,
)
from avcil.inference.clip_features import ClipFeatures, ClipReader, Source, name_of
from avcil.inference.contribution_table import ContributionRow, ContributionTable
from avcil.inference.contributions import Contributions, contributions, margin
from avcil.inference.network_attention import network_attention
from avcil.media.attention_footer import footer
from avcil.media.attention_overlay import draw_attention
from avcil.media.overlay import enlarged
from avcil.models.base import Model
from avcil.nn.network import Network
from avcil.saved_models.folder import SavedModel

SHOWN_SIDE = 384
"""Pixels of the short side of a drawn frame; larger frames keep their size."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """What one answer is based on."""

    answer: Answer
    runner_up: str
    """The second likeliest class, against which contributions are measured; the answer itself if it is alone."""
    margin: float
    contribution_kind: Literal["additive", "ablation"] | None
    """How contributions are computed (see `contributions.py`); None where there are none."""
    contributions: dict[str, float]
    """Of "audio", "visual" and, where they are additive, the "bias" term to the margin."""
    encoder_contributions: dict[str, dict[str, float]]
    """By modality and encoder, for modalities whose features come from several encoders."""
    alone: dict[str, tuple[str, float]]
    """The prediction from each modality alone, and its probability; empty with a joint encoder."""
    map_kind: Literal["attention", "sensitivity"] | None
    """What the maps are; None without a picture."""
    spatial: np.ndarray | None
    """(T, h, w), each slice's summing to one."""
    temporal: np.ndarray | None
    """(T,), summing to one."""
    frames: np.ndarray | None
    """(F, H, W, 3) uint8; None where features are all there is."""
    sound: np.ndarray | None
    """(N,) float32"""
    sample_rate: int | None
    seconds: float | None
    """Length of the clip."""

    @property
    def frame_times(self) -> np.ndarray | None:
        """(F,) seconds into the clip at which each frame is shown; None where its length is not known."""
        if self.frames is None or not self.seconds:
            return None
        return (np.arange(len(self.frames)) + 0.5) * self.seconds / len(self.frames)

    def contribution_table(self) -> ContributionTable:
        """The contributions as rows to print or draw: each modality, the encoders of it, the bias term."""
        rows = []
        for name in ("audio", "visual"):
            if name in self.contributions:
                remark = ""
                if name in self.alone:
                    label, probability = self.alone[name]
                    remark = f"prediction from {name} alone: {label}, {100 * probability:.0f} %"
                rows.append(ContributionRow(name=name, value=self.contributions[name], remark=remark))
            encoders = self.encoder_contributions.get(name, {})
            rows += [
                ContributionRow(name=each, value=value, is_encoder=True) for each, value in encoders.items()
            ]
        if "bias" in self.contributions:
            rows.append(ContributionRow(name="bias term", value=self.contributions["bias"]))
        return ContributionTable(
            label=self.answer.label,
            second=self.runner_up,
            difference=self.margin,
            kind=self.contribution_kind,
            rows=rows,
        )

    def draw(self) -> list[np.ndarray]:
        """Draw each frame with the map over it, and the color scale and the temporal weights below.

        Returns:
            Pictures (F, H', W', 3) uint8, H' and W' even, W' `SHOWN_SIDE` or more.

        Raises:
            InputError: where there is no picture to draw on.
        """
        if self.frames is None or self.spatial is None or self.temporal is None:
            raise InputError(f"{self.answer.path}: there is no picture to draw on")
        drawn, scale = draw_attention([enlarged(frame, SHOWN_SIDE) for frame in self.frames], self.spatial)
        slices = len(self.spatial)
        return [
            np.concatenate(
                [frame, footer(frame.shape[1], scale, self.temporal, number * slices // len(drawn))]
            )
            for number, frame in enumerate(drawn)
        ]

    def write_video(self, path: Path) -> None:
        """The drawn frames with the sound as an MP4 file, as long as the clip."""
        from avcil.media import write_video

        drawn = self.draw()
        fps = len(drawn) / self.seconds if self.seconds else 8.0
        has_sound = self.sound is not None and self.sample_rate is not None
        write_video(
            path,
            drawn,
            min(max(fps, 0.1), 1000),
            sound=self.sound if has_sound else None,
            sample_rate=self.sample_rate if has_sound else None,
        )


def explain(
    state: SavedModel,
    reader: ClipReader,
    clip: Source,
    *,
    alpha: float = DEFAULT_ALPHA,
    thresholds: Thresholds = no_thresholds,
) -> Explanation:
    """Predict a clip and explain the prediction; InputError if it cannot be read."""
    given = (
        clip if isinstance(clip, ClipFeatures) else reader.features(clip)
    )  # features alone need no encoder
    features = answerable(state.model, name_of(clip), given)
    answer = answer_features(state, name_of(clip), given, alpha=alpha, thresholds=thresholds)
    ranked = list(answer.probabilities)
    runner_up = ranked[min(1, len(ranked) - 1)]
    pair = state.labels.index(answer.label), state.labels.index(runner_up)
    audio, visual = model_input(state.model, features)
    kind, maps = _maps(reader, state.model, features, pair)
    shares = Contributions() if features.is_joint else contributions(state, audio, visual, pair)
    read = features.read
    return Explanation(
        answer=answer,
        runner_up=runner_up,
        margin=margin(state.model, audio, visual, pair),
        contribution_kind=shares.kind,
        contributions=shares.modalities,
        encoder_contributions=shares.encoders,
        alone={} if features.is_joint else dict(_alone(state, features)),
        map_kind=kind,
        spatial=None if maps is None else maps[0],
        temporal=None if maps is None else maps[1],
        frames=None if read is None else read.frames,
        sound=None if read is None else read.sound,
        sample_rate=reader.wanted.sample_rate if read is not None else None,
        seconds=None if read is None else _seconds(reader, features),
    )


def _seconds(reader: ClipReader, features: ClipFeatures) -> float | None:
    read, rate = features.read, reader.wanted.sample_rate
    assert read is not None
    if read.seconds is None and read.sound is not None and rate:
        return len(read.sound) / rate
    return read.seconds


def _alone(state: SavedModel, features: ClipFeatures) -> Iterator[tuple[str, tuple[str, float]]]:
    """The answer from each modality that the clip has, where the model gives one."""
    parts = {
        "audio": replace(features, read=None, visual=None),
        "visual": replace(features, read=None, audio=None),
    }
    for name, part in parts.items():
        if getattr(features, name) is not None and name in state.model.answers:
            answer = answer_features(state, name_of(part), part)
            yield name, (answer.label, answer.probability)


def _maps(
    reader: ClipReader, model: Model, features: ClipFeatures, pair: tuple[int, int]
) -> tuple[Literal["attention", "sensitivity"] | None, tuple[np.ndarray, np.ndarray] | None]:
    given = given_modality(model, features)
    if features.visual is None or given is None or not given.has_visual:
        return None, None
    audio, visual = model_input(model, features)
    assert visual is not None
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
    """(T, S) and (T,): shares of |x_ts . d margin / d x_ts|."""
    with torch.inference_mode(False), torch.enable_grad():
        tokens = visual.clone().requires_grad_()
        scores = model.scores(None if audio is None else audio.clone(), tokens)[0]
        target = scores[pair[0]] - scores[pair[1]] if len(scores) > 1 else scores[0]
        (slope,) = torch.autograd.grad(target, tokens)
    # where all tokens are alike, their deviation has no slope
    share = (slope.nan_to_num(0.0, 0.0, 0.0) * tokens.detach()).sum(dim=3).abs()[0].double().numpy()
    share = share if share.sum() > 0 else np.ones_like(share)
    temporal = share.sum(axis=1)
    even = np.full_like(share, 1 / share.shape[1])
    spatial = np.divide(share, temporal[:, None], out=even, where=temporal[:, None] > 0)
    return spatial, temporal / temporal.sum()
