"""What every recognizer's model is, whichever way it learnt: scores of the classes seen, from a clip's features.

B clips, T time slices, S spatial tokens, Da and Dv widths of sound and picture, C classes.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor

Modality = Literal["audio-visual", "audio", "visual"]
MODALITIES: tuple[Modality, ...] = ("audio-visual", "audio", "visual")


def modality_parts(modality: str) -> tuple[bool, bool]:
    """Whether a modality hears and whether it sees.

    >>> modality_parts("audio-visual"), modality_parts("visual")
    ((True, True), (False, True))
    """
    return "audio" in modality, "visual" in modality


def parts_of(modality: str) -> tuple[Literal["audio", "visual"], ...]:
    """The single modalities that it consists of.

    >>> parts_of("audio-visual"), parts_of("visual")
    (('audio', 'visual'), ('visual',))
    """
    parts: tuple[Literal["audio", "visual"], ...] = ("audio", "visual")
    return tuple(part for part, is_in in zip(parts, modality_parts(modality), strict=True) if is_in)


@runtime_checkable
class Model(Protocol):
    """A model that can be asked, saved and loaded."""

    @property
    def kind(self) -> str:
        """The name under which `saved_models.folder` builds it again."""
        ...

    @property
    def modality(self) -> Modality:
        """What it was trained on."""
        ...

    @property
    def classes(self) -> int:
        """Number of classes, C."""
        ...

    @property
    def answers(self) -> tuple[Modality, ...]:
        """What a clip may consist of: the model's modality, and parts of it that it can answer from alone."""
        ...

    def scores(self, audio: Tensor | None, visual: Tensor | None) -> Tensor:
        """Scores (B, C), the larger the likelier, of audio (B, Da) and visual (B, T, S, Dv); None is a modality that
        the clips lack, where `answers` has the other alone."""
        ...

    def to_config(self) -> dict[str, Any]:
        """What, with the tensors, builds the model again; plain JSON."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Every number the model needs to predict."""
        ...
