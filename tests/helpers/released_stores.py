"""Feature files of the released form with a few clips, and stores imported from them."""

from __future__ import annotations

import numpy as np
import released_files as files

from avcil.features import FeatureStore

IDS = files.clip_ids(24)
FEW = IDS[:5]


def some(arrays, ids=FEW):
    return {clip_id: arrays[clip_id] for clip_id in ids}


def npy_files(audio, visual):
    return {files.AUDIO_PATH: files.npy_bytes(audio), files.VISUAL_PATH: files.npy_bytes(visual)}


def check_store(out, audio, visual, ids, dtype=np.float16):
    """Assert that the store has exactly these clips, with the values of the source."""
    store = FeatureStore(out)
    stored = [clip.clip_id for clip in store.clips]
    assert sorted(stored) == sorted(ids)
    for row, clip_id in enumerate(stored):
        assert np.array_equal(store.visual([row])[0].reshape(1568, 768), visual[clip_id].astype(dtype))
        assert np.array_equal(store.audio([row])[0], audio[clip_id].astype(dtype))
    return store
