"""When a prediction counts as unknown: an error rate, and thresholds of probability for classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from avcil.errors import InputError, unknown_name

if TYPE_CHECKING:
    from avcil.data.modality import Modality
    from avcil.saved_models.folder import SavedModel

ERROR_RATE = 0.05
"""p-value up to which a clip counts as unknown."""


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """The rules by which a recognizer answers `in_distribution=False`.

    Raises:
        InputError: A number is outside its range.
    """

    error_rate: float = ERROR_RATE
    """About this share of clips of known classes has a p-value that counts as unknown."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Probability that a prediction of a class must reach, by class name."""
    precision: float | None = None
    """Precision for which thresholds of the other classes are chosen, from leave-one-out scores; None: none are."""

    def __post_init__(self) -> None:
        if not 0 <= self.error_rate < 1:
            raise InputError(
                f"the error rate must be a share from 0 up to 1, as in 0.05; not {self.error_rate}"
            )
        for label, value in self.thresholds.items():
            if not 0 <= value <= 1:
                raise InputError(f"the threshold of {label!r} must be a probability from 0 to 1; not {value}")
        if self.precision is not None and not 0 < self.precision <= 1:
            raise InputError(f"the precision must be above 0 and at most 1, as in 0.95; not {self.precision}")

    def check_classes(self, labels: Sequence[str]) -> None:
        """Refuse thresholds of classes that are not among `labels`."""
        for label in self.thresholds:
            if label not in labels:
                raise unknown_name("class of a threshold", label, labels)


def chosen_thresholds(state: SavedModel, modality: Modality, precision: float) -> dict[str, float | None]:
    """The threshold of each class that reaches a precision on the calibration sample, scored leave-one-out.

    Args:
        state: A model of `blade` with what learning needs.
        modality: Which of the model's heads answers.
        precision: See `statistics.thresholds`.

    Returns:
        By class name; None where no clip of the sample was predicted as the class.

    Raises:
        InputError: The model cannot score clips leave-one-out.
    """
    from avcil.closed_form.thresholds import thresholds_for_precision
    from avcil.methods.blade import Blade
    from avcil.training.update import closed_form

    method = None
    if state.learning is not None and state.learning.settings.method == Blade.name:
        method = closed_form(state.learning)
    if not isinstance(method, Blade):
        raise InputError(
            "thresholds for a stated precision need a model of the method blade with its statistics. "
            "Give a threshold for each class instead"
        )
    found = method.leave_one_out(modality)
    if found is None:
        raise InputError(
            "no threshold can be chosen: no class has two clips in the model's calibration sample. Give a threshold "
            "for each class instead"
        )
    by_label = dict(zip(state.labels, thresholds_for_precision(*found, precision), strict=True))
    return {label: by_label[label] for label in state.classes}
