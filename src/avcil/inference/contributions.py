"""Contributions of each modality and each encoder to a prediction.

The margin is the score of the predicted class minus that of the second one. There are two kinds of contributions:

    additive   scores that are linear in the features: the sum of feature times weight over the features of a modality
               or encoder. With the bias term they add up to the margin.
    ablation   all others: margin - margin without the modality, or with the encoder's features replaced by their
               typical values. They need not add up to the margin.

Shapes: Da and Dv are the widths of audio and visual features, T time slices, S spatial tokens, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from avcil.closed_form.linear_model import LinearModel
from avcil.encoders.constants import typical_features
from avcil.methods.model import Model

if TYPE_CHECKING:
    from avcil.saved_models.folder import SavedModel

Kind = Literal["additive", "ablation"]


@dataclass(frozen=True, kw_only=True)
class Contributions:
    """Contributions to the margin between two classes."""

    kind: Kind | None = None
    """None if there are no contributions: one modality, one encoder, or features that mix them."""
    modalities: dict[str, float] = field(default_factory=dict)
    """Of "audio" and "visual"; additive contributions also of the "bias" term."""
    encoders: dict[str, dict[str, float]] = field(default_factory=dict)
    """By modality and encoder, for modalities with several encoders."""


def contributions(
    state: SavedModel, audio: Tensor | None, visual: Tensor | None, pair: tuple[int, int]
) -> Contributions:
    """Compute the contributions for one clip.

    Args:
        state: The model and the encoders of its features.
        audio: (1, Da), or None.
        visual: (1, T, S, Dv), or None.
        pair: Indices of the predicted class and of the second one.
    """
    given = {
        name: tensor
        for name, tensor in (("audio", audio), ("visual", visual))
        if tensor is not None and state.parts(name)
    }
    parts = {name: state.parts(name) for name in given}
    combined = {name: used for name, used in parts.items() if len(used) > 1}
    if isinstance(state.model, LinearModel):
        modalities = state.model.margin_contributions(audio, visual, pair)
        encoders = state.model.encoder_margin_contributions(audio, visual, pair, combined) if combined else {}
        kind: Kind = "additive"
    else:
        modalities = _ablated_modalities(state.model, given, pair)
        encoders = {name: _ablated_encoders(state, given, pair, name) for name in combined}
        kind = "ablation"
    return Contributions(
        kind=kind if modalities or encoders else None, modalities=modalities, encoders=encoders
    )


def margin(model: Model, audio: Tensor | None, visual: Tensor | None, pair: tuple[int, int]) -> float:
    """Score of the first class minus that of the second."""
    with torch.inference_mode():
        scores = model.scores(audio, visual)[0].double()
    return float(scores[pair[0]] - scores[pair[1]])


def _ablated_modalities(model: Model, given: Mapping[str, Tensor], pair: tuple[int, int]) -> dict[str, float]:
    if len(given) < 2 or not {"audio", "visual"} <= set(model.input_modalities):
        return {}
    full_margin = margin(model, given["audio"], given["visual"], pair)
    return {
        "audio": full_margin - margin(model, None, given["visual"], pair),
        "visual": full_margin - margin(model, given["audio"], None, pair),
    }


def _ablated_encoders(
    state: SavedModel, given: Mapping[str, Tensor], pair: tuple[int, int], modality: str
) -> dict[str, float]:
    full_margin = margin(state.model, given.get("audio"), given.get("visual"), pair)
    features = given[modality]
    encoder = state.description[modality]["encoder"]
    typical = torch.from_numpy(typical_features(encoder, features.shape[-1])).to(features.dtype)
    ablated = {}
    for part in state.parts(modality):
        without = features.clone()
        without[..., part.start : part.stop] = typical[part.start : part.stop]
        replaced = {**given, modality: without}
        ablated[part.name] = full_margin - margin(
            state.model, replaced.get("audio"), replaced.get("visual"), pair
        )
    return ablated
