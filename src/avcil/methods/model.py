"""The interface of all models: scores of the learned classes from the features of clips.

B clips, T time slices, S spatial tokens, audio width Da, visual width Dv, C classes.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from avcil.data.modality import Modality


@runtime_checkable
class Model(Protocol):
    """A model that predicts, and that can be saved and loaded."""

    @property
    def kind(self) -> str:
        """Name of the kind of model, by which `saved_models.folder` loads it."""
        ...

    @property
    def modality(self) -> Modality:
        """Modality that the model was trained with."""
        ...

    @property
    def classes(self) -> int:
        """Number of classes, C."""
        ...

    @property
    def input_modalities(self) -> tuple[Modality, ...]:
        """Modalities from which the model can predict: its modality, and possibly parts of it."""
        ...

    def scores(self, audio: Tensor | None, visual: Tensor | None) -> Tensor:
        """Logits (B, C).

        Args:
            audio: (B, Da); None if the clips lack it and `input_modalities` contains "visual".
            visual: (B, T, S, Dv); None if the clips lack it and `input_modalities` contains "audio".
        """
        ...

    def to_config(self) -> dict[str, Any]:
        """The configuration as JSON."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """All tensors of the model."""
        ...
