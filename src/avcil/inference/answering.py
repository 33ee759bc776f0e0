"""Predict a clip from its features: functions of a saved model's state. `Recognizer` is built on them.

B clips, C classes, T time slices, S spatial tokens, Da and Dv widths of audio and visual features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from avcil.data.modality import Modality
from avcil.errors import InputError
from avcil.inference.clip_features import ClipFeatures, is_silent
from avcil.models.base import Model
from avcil.saved_models.folder import BACKGROUND, SavedModel

DEFAULT_ALPHA = 0.05
"""Significance level: a clip with a p-value up to it is of none of the classes. About this fraction of clips of known
classes is rejected by mistake."""


Thresholds = Callable[[str], Mapping[str, float]]
"""From the modality that a clip is predicted from to the threshold of probability of each class that has one."""


def no_thresholds(modality: str) -> Mapping[str, float]:
    """No class has a threshold."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The prediction for one clip."""

    path: str
    label: str
    probabilities: dict[str, float]
    """Of every class, the most probable first."""
    notes: str
    """What is wrong with the file or missing; empty if nothing is."""
    in_distribution: bool | None = None
    """False: the clip counts as unknown, by its p-value, by the threshold of the label or by the background; None: the
    method has no p-values, the label no threshold, and the model no background."""
    p_value: float | None = None
    """The fraction of learned clips that are at least as far from their class as this one; `in_distribution` is False
    where it is at most the significance level."""
    threshold: float | None = None
    """Probability that `label` must reach, else `in_distribution` is False; None: no threshold."""
    background: float | None = None
    """Probability of the background beside the classes; `in_distribution` is False where it is the largest. None: the
    model has no background."""
    modality: str = ""
    """Which modalities the prediction uses."""

    @property
    def probability(self) -> float:
        """Of `label`."""
        return self.probabilities[self.label]

    @property
    def why_unknown(self) -> str:
        """Why `in_distribution` is False, in words; empty if it is not."""
        if self.in_distribution is not False:
            return ""
        if self.threshold is not None and self.probability < self.threshold:
            needed = f"{100 * self.threshold:.3g} %" if self.threshold <= 1 else "more than any probability"
            return f"its probability is below the threshold of this class, {needed}"
        if self.background is not None and self.background > (1 - self.background) * self.probability:
            return "it is more similar to the background clips than to any class"
        assert self.p_value is not None
        return f"only {100 * self.p_value:.2g} % of clips of known classes are as unusual"


def answer_features(
    state: SavedModel,
    name: str,
    features: ClipFeatures,
    *,
    alpha: float = DEFAULT_ALPHA,
    thresholds: Thresholds = no_thresholds,
) -> Answer:
    """Predict from the features of a clip.

    Args:
        state: The model and its class names.
        name: Of the clip, for messages.
        features: Audio (1, Da) and visual (1, T, S, Dv).
        alpha: p-values up to this give `in_distribution` False.
        thresholds: Probabilities that predictions of classes must reach, else `in_distribution` is False.

    Raises:
        InputError: The clip lacks a modality that the model needs.
    """
    features = answerable(state.model, name, features)
    parts = model_input(state.model, features)
    with torch.inference_mode():
        probabilities = state.model.scores(*parts).double().softmax(dim=1)[0]
        p_values = getattr(state.model, "p_values", lambda *_: None)(*parts)
    p_value = None if p_values is None else float(p_values[0])
    known = None if p_value is None else p_value > alpha
    labels, background = list(state.labels), None
    if BACKGROUND in labels:
        at = labels.index(BACKGROUND)
        background = float(probabilities[at])
        known = bool(probabilities.argmax() != at) and known is not False
        kept = [number for number in range(len(labels)) if number != at]
        labels, probabilities = [labels[number] for number in kept], probabilities[kept]
        probabilities = probabilities / probabilities.sum().clamp_min(torch.finfo(torch.float64).tiny)
    order = probabilities.argsort(descending=True, stable=True).tolist()
    values, modality = probabilities.tolist(), given_modality(state.model, features)
    assert modality is not None  # `answerable` has checked it
    label = labels[order[0]]
    threshold = thresholds(modality).get(label)
    if threshold is not None:
        known = values[order[0]] >= threshold and known is not False
    return Answer(
        path=name,
        label=label,
        probabilities={labels[number]: values[number] for number in order},
        notes=features.notes,
        in_distribution=known,
        p_value=p_value,
        threshold=threshold,
        background=background,
        modality=modality,
    )


def model_input(model: Model, features: ClipFeatures) -> tuple[Tensor | None, Tensor | None]:
    """Audio (1, Da) and visual (1, T, S, Dv) in the numbers of the model."""
    dtype = next(tensor.dtype for tensor in model.tensors().values() if tensor.is_floating_point())
    audio, visual = (None if part is None else part.to(dtype) for part in (features.audio, features.visual))
    return audio, visual


def given_modality(model: Model, features: ClipFeatures) -> Modality | None:
    """Which of the model's modalities a clip has; None if it has none of them."""
    return Modality.of(
        has_audio=model.modality.has_audio and features.audio is not None,
        has_visual=model.modality.has_visual and features.visual is not None,
    )


def answerable(model: Model, name: str, features: ClipFeatures) -> ClipFeatures:
    """The features that the model uses, with a note on what is missing; InputError if too much is.

    A silent track counts as missing audio where the model can predict without it.
    """
    if (
        is_silent(features)
        and not features.is_joint
        and "visual" in model.answers
        and features.visual is not None
    ):
        features = replace(features, audio=None)
    given = given_modality(model, features)
    if given == model.modality:
        return features
    if given in model.answers:
        said = {"visual": "answered from the picture alone", "audio": "answered from the sound alone"}[given]
        return replace(features, notes="; ".join(filter(None, (features.notes, said))))
    parts = {"audio": "sound", "visual": "picture", "audio-visual": "picture and sound"}
    raise InputError(
        f"{name}: {features.notes or 'it lacks what this recognizer needs'}; this recognizer needs "
        f"{' or '.join(parts[part] for part in model.answers)}"
    )
