"""Rules for rejecting predictions as possibly of an unknown class: a significance level and probability thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from avcil.errors import InputError, unknown_name
from avcil.inference.prediction import DEFAULT_ALPHA

if TYPE_CHECKING:
    from avcil.data.modality import Modality
    from avcil.saved_models.folder import SavedModel


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """The rules that set `in_distribution` of a prediction to False.

    Raises:
        InputError: A number is outside its range.
    """

    alpha: float = DEFAULT_ALPHA
    """Significance level: clips with a p-value up to it are rejected. This is about this fraction of clips of known
    classes if they are recorded like the training clips, and more otherwise."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Minimum probabilities of predictions, by class."""
    precision: float | None = None
    """The threshold of the other classes is chosen for this precision, from leave-one-out predictions; None: no
    thresholds are chosen."""

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < 1:
            raise InputError(f"alpha must be at least 0 and below 1, such as 0.05; not {self.alpha}")
        for label, value in self.thresholds.items():
            if not 0 <= value <= 1:
                raise InputError(f"the threshold of {label!r} must be a probability from 0 to 1; not {value}")
        if self.precision is not None and not 0 < self.precision <= 1:
            raise InputError(
                f"the precision must be above 0 and at most 1, such as 0.95; not {self.precision}"
            )

    def renamed(self, names: Mapping[str, str]) -> Rejection:
        """The same rules after classes were renamed; `names` has new names by old ones."""
        thresholds = {names.get(label, label): value for label, value in self.thresholds.items()}
        return replace(self, thresholds=thresholds)

    def check_classes(self, labels: Sequence[str]) -> None:
        """Raise InputError for thresholds of classes that are not in `labels`."""
        for label in self.thresholds:
            if label not in labels:
                raise unknown_name("class of a threshold", label, labels)


def chosen_thresholds(state: SavedModel, modality: Modality, precision: float) -> dict[str, float]:
    """Choose a threshold for a precision on leave-one-out predictions of the calibration sample.

    Args:
        state: A model of `blade` with its learning state.
        modality: The modality that predictions use.
        precision: See `closed_form.thresholds`.

    Returns:
        Thresholds by class; all are the same.

    Raises:
        InputError: The model has no leave-one-out predictions.
    """
    import torch

    from avcil.closed_form.thresholds import threshold_for_precision
    from avcil.methods.blade import BladeMethod
    from avcil.training.update import closed_form_method

    method = None
    if state.learning is not None and state.learning.settings.method == BladeMethod.name:
        method = closed_form_method(state.learning)
    if not isinstance(method, BladeMethod):
        raise InputError(
            "choosing thresholds for a precision needs a model of the method blade with learning.json. "
            "Give a threshold for each class instead"
        )
    left_out = method.leave_one_out(modality)
    if left_out is None:
        raise InputError(
            "thresholds cannot be chosen: no class has two clips in the model's calibration sample. Give a threshold "
            "for each class instead"
        )
    highest, predicted = left_out[0].max(dim=1)
    is_class = torch.tensor([label in state.classes for label in state.labels])  # not the background
    return dict.fromkeys(state.classes, threshold_for_precision(highest[is_class[predicted]], precision))
