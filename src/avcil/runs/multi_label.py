"""Accuracy when clips have several correct classes.

Test clips of a benchmark have one label, but often contain several. Given all classes of a clip, a prediction
is correct if it is one of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from avcil.runs.run_files import ClipPrediction


@dataclass(frozen=True, kw_only=True)
class Proportion:
    """The number of clips with a property, of all clips."""

    count: int
    clips: int

    @property
    def fraction(self) -> float | None:
        """None without clips."""
        return self.count / self.clips if self.clips else None


@dataclass(frozen=True, kw_only=True)
class MultiLabelScore:
    """The predictions for the annotated test clips after one step."""

    annotated: Proportion
    """Test clips with annotations, of all test clips."""
    confirmed: Proportion
    """Annotated clips whose label in the benchmark is one of their annotated classes."""
    attainable: Proportion
    """Annotated clips with an annotated class that the model knows: the largest possible multi-label accuracy."""
    single_label: Proportion
    """Annotated clips for which the label of the benchmark is predicted."""
    multi_label: Proportion
    """Annotated clips for which one of their annotated classes is predicted."""
    confirmed_single_label: Proportion
    """`single_label` of the confirmed clips alone."""
    by_modality: Mapping[str, Proportion]
    """`multi_label` by modality ("audible", "visible"): of the clips with a class annotated so, how many predictions
    are such a class."""


def multi_label_score(
    predictions: Sequence[ClipPrediction],
    annotations: Mapping[str, Mapping[str, Collection[str]]],
    classes: Collection[str],
) -> MultiLabelScore:
    """Compare predictions with all classes of each clip.

    Args:
        predictions: Predictions for test clips.
        annotations: For each annotated clip, its classes with their modalities.
        classes: The classes that the model knows.

    >>> predictions = [ClipPrediction(clip_id="a", label="dog", predicted="cat", probability=0.5)]
    >>> multi_label_score(predictions, {"a": {"cat": ["audible"]}}, ["cat", "dog"]).multi_label
    Proportion(count=1, clips=1)
    """
    annotated = [(p, annotations[p.clip_id]) for p in predictions if p.clip_id in annotations]
    confirmed = [p for p, labels in annotated if p.label in labels]
    modalities = sorted({m for _, labels in annotated for kinds in labels.values() for m in kinds})
    known = set(classes)
    return MultiLabelScore(
        annotated=Proportion(count=len(annotated), clips=len(predictions)),
        confirmed=Proportion(count=len(confirmed), clips=len(annotated)),
        attainable=_proportion([not known.isdisjoint(labels) for _, labels in annotated]),
        single_label=_proportion([p.predicted == p.label for p, _ in annotated]),
        multi_label=_proportion([p.predicted in labels for p, labels in annotated]),
        confirmed_single_label=_proportion([p.predicted == p.label for p in confirmed]),
        by_modality={
            modality: _proportion(
                [
                    modality in labels.get(p.predicted, ())
                    for p, labels in annotated
                    if any(modality in kinds for kinds in labels.values())
                ]
            )
            for modality in modalities
        },
    )


def _proportion(holds: Sequence[bool]) -> Proportion:
    return Proportion(count=sum(holds), clips=len(holds))
