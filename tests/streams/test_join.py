"""`avcil features join`: several stores become one store."""

from __future__ import annotations

import numpy as np
import pytest

from avcil.errors import InputError
from avcil.features import FeatureStore
from avcil.features.join import join


def test_joined_store(store, domain_store):
    """It has all clips of both, with the same features."""
    one, both = FeatureStore(store), FeatureStore(domain_store)
    rows = {clip.clip_id: row for row, clip in enumerate(both.clips)}
    assert len(rows) == 2 * len(one.clips)
    for prefix in ("clear", "noisy"):
        at = [rows[f"{prefix}/{clip.clip_id}"] for clip in one.clips]
        assert np.array_equal(both.audio(at), one.audio(range(len(one.clips))))
        assert np.array_equal(both.visual(at), one.visual(range(len(one.clips))))


def test_stores_that_cannot_be_joined(store, domain_store, tmp_path):
    """A store is not written into itself, and clips of other stores in the output are reported."""
    (tmp_path / "one").symlink_to(store)
    (tmp_path / "two").symlink_to(store)
    with pytest.raises(InputError, match="choose another --out"):
        join([tmp_path / "one", tmp_path / "two"], tmp_path / "one")
    with pytest.raises(InputError, match="in none of the stores"):
        join([tmp_path / "one", tmp_path / "two"], domain_store)
