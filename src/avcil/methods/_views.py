"""What a learner in closed form can answer from: both modalities, or one where the other is missing.

A view is some columns of the features. The moments of those columns are a part of all moments, so that a head for
sound alone and one for the picture alone cost no further pass and no further memory of clips; each has its own
penalties, sharpness and oddity counts, as if the learner had been trained on that modality alone.

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
    """Numbers by name; one that is asked for and missing is an InputError, since files may lack it."""

    def __missing__(self, name: str) -> float:
        raise InputError(f"the saved statistics lack the number {name!r}: the model can answer, not learn on")


@dataclass(kw_only=True)
class View:
    """A modality's columns of the features, and what the steps settled of it."""

    modality: Modality
    columns: Tensor
    """(m,), ascending."""
    sizes: list[int]
    """Columns of each group that a method may give a penalty of its own: a block that has any, or, where a block is a
    vector of a combined encoder, each part of it. They add up to m."""
    kinds: list[str] = field(default_factory=list)
    """What each group holds: "audio", "mean" or "deviation"; empty where a method does not tell them apart."""
    figures: Figures = field(default_factory=Figures)
    """Numbers that steps settled and that later calls need, saved with the statistics."""
    calibration: Calibration = field(default_factory=Calibration)
    oddities: OddityCounts = field(default_factory=OddityCounts)

    @property
    def bytes(self) -> int:
        """Memory of what is kept of it from step to step."""
        return 8 * (len(self.figures) + len(self.calibration.losses) + len(self.oddities.counts))


def views_of(
    embedding: JoinedEmbedding, modality: Modality, part_widths: Mapping[str, tuple[int, ...]]
) -> list[View]:
    """The learner's own view first; for both modalities, also each alone where columns are its own.

    Vector 0 of a clip is its sound where the modality hears, the others are of the picture. Random features that mix
    vectors belong to no single one.

    Args:
        embedding: What makes the features.
        modality: The learner's own.
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
    """Which of all features are of block `number` and of the modality wanted."""
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
