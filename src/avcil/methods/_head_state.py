"""The state of the heads of a closed-form model: one for each modality that the model can predict from.

A head uses some columns of the features. The moments of these columns are part of the moments of all features. So
heads for audio alone and for visual features alone need no additional statistics. Each head has its own penalties and
its own calibration, as if the model had been trained on that modality alone.

M features, of which a head uses m.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from avcil.closed_form.calibration import Calibration
from avcil.closed_form.joined_embedding import JoinedEmbedding
from avcil.closed_form.p_values import NonconformityHistogram
from avcil.data.modality import Modality
from avcil.errors import InputError


class FittedValues(dict[str, float]):
    """Values by name. A missing value raises InputError, because a saved file may lack it."""

    def __missing__(self, name: str) -> float:
        raise InputError(
            f"the saved statistics lack the number {name!r}: the model can predict, but not be updated"
        )


@dataclass(kw_only=True)
class HeadState:
    """The feature columns of one head, and values that were fitted to the clips of earlier steps."""

    modality: Modality
    columns: Tensor
    """(m,), ascending."""
    sizes: list[int]
    """Sizes of the groups of columns that can have their own penalty: a block of the embedding, or each part of the
    vector of a combined encoder. Their sum is m."""
    kinds: list[str] = field(default_factory=list)
    """Kind of each group: "audio", "mean" or "deviation"; empty if the method does not distinguish them."""
    fitted: FittedValues = field(default_factory=FittedValues)
    """Penalties and other selected values, for reports and later steps; saved with the statistics."""
    inverse_temperature: float = 1.0
    """Inverse temperature of the head that was computed last, for reports; not saved."""
    calibration: Calibration = field(default_factory=Calibration)
    histogram: NonconformityHistogram = field(default_factory=NonconformityHistogram)
    """Nonconformity scores of clips; only models of formats 1 and 2 have some."""

    @property
    def bytes(self) -> int:
        """Size of the saved state in bytes."""
        return 8 * (len(self.fitted) + len(self.calibration.losses) + len(self.histogram.counts))


def head_states_of(
    embedding: JoinedEmbedding, modality: Modality, part_widths: Mapping[str, tuple[int, ...]]
) -> list[HeadState]:
    """The initial states of the heads of a model.

    The first is for the modality of the model. An audio-visual model also has one for audio and one for visual, if
    there are features of this modality alone: random features that mix both belong to neither. Vector 0 of a clip is
    audio if the modality has audio; the others are visual.

    Args:
        embedding: The embedding of the features.
        modality: The modality of the model.
        part_widths: Features of each part of a combined encoder, for "audio" and "visual" where there are several.
    """
    states = []
    for part in head_modalities(modality):
        columns = [_columns(embedding, number, part, modality) for number in range(len(embedding.blocks))]
        sizes = [
            size
            for number, of_block in enumerate(columns)
            if len(of_block)
            for size in _group_sizes(embedding, number, modality, part_widths) or [len(of_block)]
        ]
        if sizes:
            states.append(HeadState(modality=part, columns=torch.cat(columns), sizes=sizes))
    return states


def head_modalities(modality: Modality) -> list[Modality]:
    """The modality of a model, and for an audio-visual model also audio and visual."""
    return [modality, *(part for part in modality.parts if part != modality)]


def _columns(embedding: JoinedEmbedding, number: int, part: Modality, modality: Modality) -> Tensor:
    """The columns (k,) of block `number` that are computed from modality `part` of a model with `modality`."""
    block, at = embedding.blocks[number]
    begin = sum(embedding.sizes[:number])
    belongs = [part.has_audio if vector == 0 and modality.has_audio else part.has_visual for vector in at]
    if block.config.activation == "none":  # the vectors themselves, concatenated
        mask = torch.cat(
            [torch.full((width,), is_part) for width, is_part in zip(block.widths, belongs, strict=True)]
        )
    else:
        mask = torch.full((block.width,), all(belongs))
    return begin + mask.nonzero()[:, 0]


def _group_sizes(
    embedding: JoinedEmbedding, number: int, modality: Modality, part_widths: Mapping[str, tuple[int, ...]]
) -> tuple[int, ...]:
    """Widths of the parts of a combined encoder if block `number` is its vector without a projection; else empty."""
    block, at = embedding.blocks[number]
    if block.config.activation != "none" or len(at) > 1:
        return ()
    is_audio = at[0] == 0 and modality.has_audio
    return part_widths.get("audio" if is_audio else "visual", ())
