"""Clips are read with the sampling and the encoders of the training features."""

from __future__ import annotations

import pytest

from avcil.data.modality import Modality
from avcil.errors import InputError
from avcil.inference.clip_features import ClipReader


def test_imported_features_have_no_encoder():
    """The error for a model of imported features explains why it cannot predict media files."""
    encoder = {"name": "released:AVE", "version": 1, "options": {}, "weights": "w"}
    description = {"audio": {"encoder": encoder}, "visual": {"encoder": encoder}, "dtype": "float16"}
    for modality in Modality:
        with pytest.raises(InputError, match=r"trained on imported features \(released:AVE\)"):
            ClipReader(description, modality=modality)
