"""Reads and checks saved statistics of closed-form methods. Files may be untrusted or of an earlier version."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from avcil.closed_form.block_discriminant import BladeStatistics
from avcil.closed_form.calibration_sample import CalibrationSample
from avcil.closed_form.class_moments import ClassMoments
from avcil.closed_form.learned_clips import LearnedClips, hashes
from avcil.closed_form.moments import Moments
from avcil.errors import InputError
from avcil.utils import checks
from avcil.utils.tensor_names import strip_prefix


def saved_sample(tensors: dict[str, Tensor], width: int, classes: int) -> CalibrationSample:
    """The calibration sample of `width` features; InputError if a tensor has a wrong shape."""
    labels = tensors.get("labels")
    count = labels.numel() if labels is not None else 0
    checked = {
        "vectors": checks.tensor(tensors, "vectors", (count, width)),
        "labels": checks.tensor(tensors, "labels", (count,), dtypes=(torch.int64,)),
        "size": checks.tensor(tensors, "size", (), dtypes=(torch.int64,)),
    }
    _check_class_numbers(checked["labels"], classes, "the calibration sample has")
    return CalibrationSample.from_tensors(checked)


def saved_learned_clips(
    tensors: dict[str, Tensor], classes: int, sample: CalibrationSample | None = None
) -> LearnedClips:
    """The hashes of learned clips; InputError if a tensor has a wrong shape.

    Models before 0.2 have none; then these are the hashes of the clips in the calibration sample, if there is one.
    """
    learned = LearnedClips()
    if tensors:
        labels = tensors.get("labels")
        shape = (0 if labels is None else labels.numel(),)
        learned.add(
            *(checks.tensor(tensors, name, shape, dtypes=(torch.int64,)) for name in ("hashes", "labels"))
        )
        _check_class_numbers(learned.labels, classes, "the hashes of learned clips have")
    elif sample is not None:
        learned.add(hashes(sample.vectors), sample.labels)
    return learned


def _check_class_numbers(labels: Tensor, classes: int, what: str) -> None:
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise InputError(f"{what} class numbers outside 0 to {classes - 1}")


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


def saved_blade_statistics(
    tensors: dict[str, Tensor], widths: Mapping[str, int], *, calibration_clips: int
) -> BladeStatistics:
    """The statistics of BLADE; those of model formats 2 to 4 are converted.

    Args:
        tensors: The learning state of a model.
        widths: Number of features of each modality.
        calibration_clips: Size of the calibration sample of a model of format 2, which has none.

    Raises:
        InputError: The tensors do not fit the widths or each other.
    """
    statistics = BladeStatistics(widths, calibration_clips=calibration_clips)
    before_format_5 = "moments.counts" in tensors
    name = "moments.counts" if before_format_5 else "complete_counts"
    classes = tensors[name].numel() if name in tensors else 0
    complete = statistics.complete_counts = checks.tensor(tensors, name, (classes,)).clone()
    if before_format_5:
        statistics.moments = _moments_before_format_5(tensors, widths, classes)
    else:
        statistics.moments = _moments_by_modality(strip_prefix("moments", tensors), widths, classes)
    found = [moments.counts for moments in statistics.moments.values()]
    if len(found) < len(widths) or any((counts < complete).any() for counts in found) or (complete < 0).any():
        raise InputError("the numbers of clips of each modality do not fit each other")
    if "moments.gram" not in tensors:
        sample = strip_prefix("sample", tensors)
        statistics.sample = saved_sample(sample, sum(widths.values()), classes)
    return statistics


def _moments_by_modality(
    tensors: dict[str, Tensor], widths: Mapping[str, int], classes: int
) -> dict[str, ClassMoments]:
    """Moments of modalities, with which the names of their tensors begin."""
    checks.no_others({name.partition(".")[0]: tensor for name, tensor in tensors.items()}, widths)
    return {
        modality: _moments(own, width, classes)
        for modality, width in widths.items()
        if (own := strip_prefix(modality, tensors))
    }


def _moments(tensors: dict[str, Tensor], width: int, classes: int) -> ClassMoments:
    moments = ClassMoments(width)
    moments.load(tensors)
    if moments.classes != classes:
        raise InputError(f"the saved moments have {moments.classes} classes; expected are {classes}")
    return moments


def _moments_before_format_5(
    tensors: dict[str, Tensor], widths: Mapping[str, int], classes: int
) -> dict[str, ClassMoments]:
    """The moments of each modality.

    Formats 2 to 4 have moments of the features of both modalities, of complete clips. Format 4 also has moments of the
    clips that have only one modality.
    """
    saved, width = strip_prefix("moments", tensors), sum(widths.values())
    if "gram" in saved:
        complete = _moments_of_format_2(saved, strip_prefix("embedding", tensors), width)
    else:
        complete = _moments(saved, width, classes)
    columns = torch.arange(width).split(list(widths.values()))
    found = {modality: complete.part(own) for modality, own in zip(widths, columns, strict=True)}
    incomplete = _moments_by_modality(strip_prefix("incomplete", tensors), widths, classes)
    for modality, moments in incomplete.items():
        found[modality].merge(moments)
    return found


def _moments_of_format_2(
    moments: dict[str, Tensor], embedding: dict[str, Tensor], width: int
) -> ClassMoments:
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
    sums = Moments(width)
    sums.load(moments)
    converted = ClassMoments.of(sums)
    converted.means = mean + converted.means * scale
    converted.within = converted.within * scale * scale[:, None]
    return converted
