"""Reads and checks saved statistics of closed-form methods. Files may be untrusted or of an earlier version."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from avcil.closed_form.calibration_sample import CalibrationSample
from avcil.closed_form.class_moments import ClassMoments
from avcil.closed_form.moments import Moments
from avcil.data.modality import Modality
from avcil.errors import InputError
from avcil.utils import checks
from avcil.utils.tensor_names import strip_prefix


def saved_moments(tensors: dict[str, Tensor], width: int) -> ClassMoments:
    """Moments of `width` features; InputError if a tensor has a wrong shape."""
    counts = tensors.get("counts")
    classes = counts.numel() if counts is not None else 0
    checked = {
        "counts": checks.tensor(tensors, "counts", (classes,)),
        "means": checks.tensor(tensors, "means", (classes, width)),
        "within": checks.tensor(tensors, "within", (width * (width + 1) // 2,)),
    }
    if (checked["counts"] < 0).any():
        raise InputError("a class has a negative number of clips")
    return ClassMoments.from_tensors(checked)


def saved_sample(tensors: dict[str, Tensor], width: int, classes: int) -> CalibrationSample:
    """The calibration sample of `width` features; InputError if a tensor has a wrong shape."""
    labels = tensors.get("labels")
    count = labels.numel() if labels is not None else 0
    checked = {
        "vectors": checks.tensor(tensors, "vectors", (count, width)),
        "labels": checks.tensor(tensors, "labels", (count,), dtypes=(torch.int64,)),
        "size": checks.tensor(tensors, "size", (), dtypes=(torch.int64,)),
    }
    if count and not 0 <= int(checked["labels"].min()) <= int(checked["labels"].max()) < classes:
        raise InputError(f"the calibration sample has class numbers outside 0 to {classes - 1}")
    return CalibrationSample.from_tensors(checked)


def saved_deviations(tensors: dict[str, Tensor], widths: Mapping[str, int]) -> dict[str, Tensor]:
    """Typical deviations of the features of modalities; {} in models of earlier versions.

    Raises:
        InputError: A modality is not in `widths`, or the deviations are not that many finite numbers above 0.
    """
    checks.no_others(tensors, widths)
    found = {name: checks.tensor(tensors, name, (widths[name],)) for name in tensors}
    for name, deviations in found.items():
        if not (torch.isfinite(deviations) & (deviations > 0)).all():
            raise InputError(f"the typical deviations of {name} must be finite and above 0")
    return {name: deviations.double() for name, deviations in found.items()}


def saved_incomplete(
    tensors: dict[str, Tensor], widths: Mapping[Modality, int], classes: int
) -> dict[Modality, ClassMoments]:
    """Moments of the clips that have only one modality.

    Args:
        tensors: Their names begin with the modality.
        widths: Number of features of each modality that an audio-visual model can learn from alone.
        classes: C.

    Raises:
        InputError: The tensors do not fit the modalities, widths or classes.
    """
    checks.no_others({name.partition(".")[0]: tensor for name, tensor in tensors.items()}, widths)
    found = {
        modality: saved_moments(own, width)
        for modality, width in widths.items()
        if (own := strip_prefix(modality, tensors))
    }
    for modality, moments in found.items():
        if moments.classes != classes:
            raise InputError(
                f"the statistics of clips with only {modality} features have {moments.classes} classes, not {classes}"
            )
    return found


def moments_of_format_2(moments: dict[str, Tensor], embedding: dict[str, Tensor], width: int) -> ClassMoments:
    """Convert moments of format 2, of features standardized by the first step, to moments of raw features.

    A feature that was constant in the first step was multiplied by 0 in all later steps. So it is constant until new
    clips are learned.
    """
    blocks = sorted({name.partition(".")[0] for name in embedding}, key=int)
    if any(f"{block}.weight" in embedding for block in blocks):
        raise InputError(
            "this model was trained with the option `features` of an earlier version, which was removed. It can "
            "predict; to add classes, train it again"
        )
    mean, inverse = (
        torch.cat([embedding[f"{block}.{name}"].double() for block in blocks])
        for name in ("mean", "inverse_deviation")
    )
    scale = torch.where(inverse > 0, 1 / inverse.clamp(min=torch.finfo(torch.float64).tiny), 0.0)
    counts = moments["counts"] if "counts" in moments else torch.zeros(0)
    checks.tensor(moments, "sums", (width, counts.numel()))
    checks.tensor(moments, "gram", (width * (width + 1) // 2,))
    converted = ClassMoments.of(Moments.from_tensors(moments))
    converted.means = mean + converted.means * scale
    converted.within = converted.within * scale * scale[:, None]
    return converted
