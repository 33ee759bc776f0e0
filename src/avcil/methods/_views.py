"""The modalities that a closed-form model can predict from: both, or one if the other is missing.

A view is some columns of the features. The moments of those columns are a part of all moments, so heads for
audio alone and for visual features alone need no further pass and no further statistics. Each has its own penalties,
inverse temperature and nonconformity counts, as if the model had been trained on that modality alone.

M features in all, m of a view.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from avcil.closed_form.calibration import Calibration
from avcil.closed_form.joined_embedding import JoinedEmbedding
from avcil.closed_form.p_values import OddityCounts
from avcil.data.modality import Modality
from avcil.errors import InputError


class Figures(dict[str, float]):
    """Values by name. A missing value raises InputError, because a file may lack it."""

    def __missing__(self, name: str) -> float:
        raise InputError(
            f"the saved statistics lack the number {name!r}: the model can predict, but not be updated"
        )


@dataclass(kw_only=True)
class View:
    """The feature columns of a modality, and values that were fixed by steps."""

    modality: Modality
    columns: Tensor
    """(m,), ascending."""
    sizes: list[int]
    """Sizes of the groups of columns that can have their own penalty: a block, or each part of the vector of a combined
    encoder. Their sum is m."""
    kinds: list[str] = field(default_factory=list)
    """Kind of each group: "audio", "mean" or "deviation"; empty if the method does not distinguish them."""
    figures: Figures = field(default_factory=Figures)
    """Values that later steps need; saved with the statistics."""
    calibration: Calibration = field(default_factory=Calibration)
    oddities: OddityCounts = field(default_factory=OddityCounts)

    @property
    def bytes(self) -> int:
        """Size of the saved state in bytes."""
        return 8 * (len(self.figures) + len(self.calibration.losses) + len(self.oddities.counts))


def views_of(
    embedding: JoinedEmbedding, modality: Modality, part_widths: Mapping[str, tuple[int, ...]]
) -> list[View]:
    """The view of the modality; for both modalities, also a view of each one that has columns of its own.

    Vector 0 of a clip is audio if the modality has audio; the others are visual. Random features that mix them belong
    to no single modality.

    Args:
        embedding: The embedding of the features.
        modality: The modality of the model.
        part_widths: Features of each part of a combined encoder, for "audio" and "visual" where there are several.
    """
    wanted: list[Modality] = [modality]
    if modality is Modality.AUDIO_VISUAL:
        wanted += modality.parts
    views = []
    for name in wanted:
        parts = [_columns(embedding, number, name, modality) for number in range(len(embedding.blocks))]
        sizes = [
            size
            for number, part in enumerate(parts)
            if len(part)
            for size in _group_sizes(embedding, number, modality, part_widths) or [len(part)]
        ]
        if sizes:
            views.append(View(modality=name, columns=torch.cat(parts), sizes=sizes))
    return views


def _columns(embedding: JoinedEmbedding, number: int, wanted: Modality, modality: Modality) -> Tensor:
    """The features that belong to block `number` and to the requested modality."""
    block, at = embedding.blocks[number]
    begin = sum(embedding.sizes[:number])
    belongs = [wanted.has_audio if vector == 0 and modality.has_audio else wanted.has_visual for vector in at]
    if block.config.activation == "none":  # the vectors themselves, side by side
        mask = torch.cat(
            [torch.full((width,), own) for width, own in zip(block.widths, belongs, strict=True)]
        )
    else:
        mask = torch.full((block.width,), all(belongs))
    return begin + mask.nonzero()[:, 0]


def _group_sizes(
    embedding: JoinedEmbedding, number: int, modality: Modality, part_widths: Mapping[str, tuple[int, ...]]
) -> tuple[int, ...]:
    """Widths of the encoder's parts if block `number` is a single vector of several parts as it is; else none."""
    block, at = embedding.blocks[number]
    if block.config.activation != "none" or len(at) > 1:
        return ()
    is_sound = at[0] == 0 and modality.has_audio
    return part_widths.get("audio" if is_sound else "visual", ())
