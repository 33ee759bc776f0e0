"""Predict a clip from its features, as functions of a saved model. `Recognizer` uses them.

B clips, C classes, T time slices, S spatial tokens, Da and Dv widths of audio and visual features.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from avcil.closed_form.linear_model import LinearModel
from avcil.data.modality import Modality
from avcil.errors import InputError
from avcil.inference.clip_features import ClipFeatures, is_silent
from avcil.methods.model import Model
from avcil.saved_models.folder import BACKGROUND, SavedModel

DEFAULT_ALPHA = 0.05
"""Significance level of the test for unknown classes: a clip with a p-value up to it is rejected. About this fraction
of clips of known classes is rejected by mistake if they are recorded like the training clips, and more otherwise."""

_LABEL_BATCH = 64
"""Clips that `predict_labels` predicts together."""
PREDICTED_FROM = "predicted from"
"""Start of the note on a missing modality."""
Thresholds = Callable[[str], Mapping[str, float]]
"""From the modality that the prediction uses to the probability thresholds of classes."""


def no_thresholds(modality: str) -> Mapping[str, float]:
    """No class has a threshold."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The prediction for one clip."""

    path: str
    label: str
    probabilities: dict[str, float]
    """Of all classes, the most probable first."""
    notes: str
    """Problems of the file and missing modalities; often empty."""
    in_distribution: bool | None = None
    """False if the clip is possibly of an unknown class, by its p-value, by the threshold of the label or by the
    background; None if the model has none of these."""
    p_value: float | None = None
    """The fraction of the clips in the calibration sample, a sample of the training clips, that are at least as unusual
    as this clip; `in_distribution` is False if it is at most the significance level. None if the method has no
    p-values."""
    threshold: float | None = None
    """If the probability of `label` is below it, `in_distribution` is False; None if the class has no threshold."""
    background: float | None = None
    """Probability of the background; `in_distribution` is False if it is larger than those of the classes. None if the
    model has no background."""
    modality: str = ""
    """The modalities that the prediction uses."""

    @property
    def probability(self) -> float:
        """Of `label`."""
        return self.probabilities[self.label]

    @property
    def why_unknown(self) -> str:
        """Why `in_distribution` is False, as text; otherwise empty."""
        if self.in_distribution is not False:
            return ""
        if self.threshold is not None and self.probability < self.threshold:
            needed = f"{100 * self.threshold:.3g} %" if self.threshold <= 1 else "more than any probability"
            return f"the probability is below the threshold of this class, {needed}"
        if self.background is not None and self.background > (1 - self.background) * self.probability:
            return "it is more similar to the background clips than to any class"
        assert self.p_value is not None
        return f"only {100 * self.p_value:.2g} % of clips of known classes are as unusual"


Predict = Callable[[str, ClipFeatures], Prediction]
"""Predicts a clip from its name and its features."""


def predict_labels(state: SavedModel, clips: Sequence[ClipFeatures]) -> list[str]:
    """The most probable class of each clip, without the background. Clips of equal shapes are predicted together.

    Args:
        state: The model and its class names.
        clips: Audio (1, Da) and visual (1, T, S, Dv) of each clip.

    Raises:
        InputError: A clip lacks a modality that the model needs.
    """
    inputs = [
        model_input(state, without_outliers(state, usable_features(state.model, clip.clip_id, clip)))
        for clip in clips
    ]
    by_shapes: dict[tuple[torch.Size | None, ...], list[int]] = defaultdict(list)
    for number, parts in enumerate(inputs):
        by_shapes[tuple(None if part is None else part.shape for part in parts)].append(number)
    batches = [
        numbers[start : start + _LABEL_BATCH]
        for numbers in by_shapes.values()
        for start in range(0, len(numbers), _LABEL_BATCH)
    ]
    is_class = torch.tensor([label != BACKGROUND for label in state.labels])
    labels = [""] * len(clips)
    with torch.inference_mode():
        for numbers in batches:
            scores = state.model.scores(*_stacked([inputs[number] for number in numbers]))
            best = scores.masked_fill(~is_class, -math.inf).argmax(dim=1).tolist()
            for number, index in zip(numbers, best, strict=True):
                labels[number] = state.labels[index]
    return labels


def _stacked(inputs: Sequence[tuple[Tensor | None, ...]]) -> list[Tensor | None]:
    """The inputs of several clips with equal shapes as one batch."""
    columns = zip(*inputs, strict=True)
    return [
        torch.cat(present) if (present := [part for part in parts if part is not None]) else None
        for parts in columns
    ]


def predict_features(
    state: SavedModel,
    name: str,
    features: ClipFeatures,
    *,
    alpha: float = DEFAULT_ALPHA,
    thresholds: Thresholds = no_thresholds,
) -> Prediction:
    """Predict from the features of a clip.

    Args:
        state: The model and its class names.
        name: Name of the clip, for messages.
        features: Audio (1, Da) and visual (1, T, S, Dv).
        alpha: Significance level of the test for unknown classes.
        thresholds: Probability thresholds of classes.

    Raises:
        InputError: The clip lacks a modality that the model needs.
    """
    features = usable_features(state.model, name, features)
    with torch.inference_mode():
        p_values = getattr(state.model, "p_values", lambda *_: None)(*model_input(state, features))
        features = without_outliers(state, features)
        probabilities = state.model.scores(*model_input(state, features)).double().softmax(dim=1)[0]
    p_value = None if p_values is None else float(p_values[0])
    in_distribution = None if p_value is None else p_value > alpha
    labels, background = list(state.labels), None
    if BACKGROUND in labels:
        index = labels.index(BACKGROUND)
        background = float(probabilities[index])
        in_distribution = bool(probabilities.argmax() != index) and in_distribution is not False
        others = [number for number in range(len(labels)) if number != index]
        labels, probabilities = [labels[number] for number in others], probabilities[others]
        probabilities = probabilities / probabilities.sum().clamp_min(torch.finfo(torch.float64).tiny)
    order = probabilities.argsort(descending=True, stable=True).tolist()
    values, modality = probabilities.tolist(), _given_modality(state.model, features)
    assert modality is not None  # `usable_features` has checked it
    label = labels[order[0]]
    threshold = thresholds(modality).get(label)
    if threshold is not None:
        in_distribution = values[order[0]] >= threshold and in_distribution is not False
    return Prediction(
        path=name,
        label=label,
        probabilities={labels[number]: values[number] for number in order},
        notes=features.notes,
        in_distribution=in_distribution,
        p_value=p_value,
        threshold=threshold,
        background=background,
        modality=modality,
    )


def model_input(state: SavedModel, features: ClipFeatures) -> tuple[Tensor | None, Tensor | None]:
    """Audio (1, Da) and visual (1, T, S, Dv) in the dtype of the model."""
    audio, visual = (
        None if part is None else part.to(state.dtype) for part in (features.audio, features.visual)
    )
    return audio, visual


def _given_modality(model: Model, features: ClipFeatures) -> Modality | None:
    """The model's modalities that a clip has; None if it has none."""
    return model.modality.present(features.audio, features.visual)


def usable_features(model: Model, name: str, features: ClipFeatures) -> ClipFeatures:
    """The features that the model uses, with a note on a missing modality.

    Silent audio counts as missing if the model can predict without audio.

    Raises:
        InputError: The clip lacks a modality that the model needs.
    """
    if (
        is_silent(features)
        and not features.is_joint
        and "visual" in model.input_modalities
        and features.visual is not None
    ):
        features = replace(features, audio=None)
    given = _given_modality(model, features)
    if given == model.modality:
        return features
    if given in model.input_modalities:
        return _with_note(features, f"{PREDICTED_FROM} {given.in_words} alone")
    raise InputError(
        f"{name}: {features.notes or 'it lacks a modality'}; this model needs "
        f"{' or '.join(modality.in_words for modality in model.input_modalities)}"
    )


def without_outliers(state: SavedModel, features: ClipFeatures) -> ClipFeatures:
    """Features without a modality that is unlike that of all training clips, with a note; see `LinearModel.outlying`.

    Args:
        state: The model; only closed-form models with tests for single modalities leave out a modality.
        features: Features of one clip, as `usable_features` returns them.
    """
    audio, visual = model_input(state, features)
    model = state.model
    if audio is None or visual is None or features.is_joint or not isinstance(model, LinearModel):
        return features
    with torch.inference_mode():
        left_out = [modality for modality, mask in model.outlying(audio, visual).items() if mask[0]]
    if not left_out:
        return features
    (modality,) = left_out
    others = Modality.VISUAL if modality.has_audio else Modality.AUDIO
    note = (
        f"{modality.in_words} left out: unlike all training clips; {PREDICTED_FROM} {others.in_words} alone"
    )
    noted = _with_note(features, note)
    return replace(noted, audio=None) if modality.has_audio else replace(noted, visual=None)


def _with_note(features: ClipFeatures, note: str) -> ClipFeatures:
    return replace(features, notes="; ".join(filter(None, (features.notes, note))))
