"""Example frames of the classes, and test clips to try, from the run's feature store if the files exist."""

from __future__ import annotations

import base64
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np

from avcil.errors import AvcilError
from avcil.features import FeatureStore, StoredClip
from avcil.media.overlay import png_data_uri
from avcil.reporting.attention_figure import shrink
from avcil.runs.run_config import read_config
from avcil.serve.service import Service
from avcil.serve.state_entries import current_label, learned_classes

MAX_FRAMES = 120
"""Number of classes with a frame from the run's clips."""
_MAX_TEST_CLIPS = 6


class Examples:
    """Finds examples; frames of the run's clips are computed at the first call."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._lock = threading.Lock()
        self._frames: dict[str, str] | None = None

    def pictures(self) -> dict[str, str]:
        """A frame as a data URI for each class that has one."""
        with self._lock:
            if self._frames is None:
                clips = _first_of_each(_run_clips(self.service.model), "train")[:MAX_FRAMES]
                self._frames = {clip.label: uri for clip in clips if (uri := self._frame_uri(clip))}
        updates, found = self.service.state_directory.updates, {}
        for label, update in learned_classes(updates):
            try:
                content = (self.service.state_directory.path(update) / "frame.png").read_bytes()
            except FileNotFoundError:  # a clip without frames, or an update that is being undone
                continue
            found[label] = "data:image/png;base64," + base64.b64encode(content).decode()
        for label, uri in self._frames.items():
            if (now := current_label(label, updates)) is not None:
                found[now] = uri
        return found

    def test_clips(self) -> list[tuple[np.ndarray, StoredClip]]:
        """Up to six test clips of the run, each with a frame (H, W, 3)."""
        known, updates = self.service.recognizer.classes_, self.service.state_directory.updates
        clips = [
            replace(clip, label=label)
            for clip in _first_of_each(_run_clips(self.service.model), "test")
            if (label := current_label(clip.label, updates)) in known and label is not None
        ]
        shown: list[tuple[np.ndarray, StoredClip]] = []
        for clip in clips[:: max(1, len(clips) // _MAX_TEST_CLIPS)]:
            frame = self._frame(clip)
            if frame is not None and len(shown) < _MAX_TEST_CLIPS:
                shown.append((frame, clip))
        return shown

    def _frame(self, clip: StoredClip) -> np.ndarray | None:
        """The middle frame (H, W, 3); None if it cannot be read."""
        try:
            with self.service.uploads.clip() as session:
                read = session.read_clip(
                    clip.path, frames=3, short_side=120, sample_rate=None, start=clip.start, end=clip.end
                )
        except AvcilError:
            return None
        return None if read.frames is None else shrink(read.frames[1], 240)

    def _frame_uri(self, clip: StoredClip) -> str | None:
        frame = self._frame(clip)
        return None if frame is None else png_data_uri(frame)


def _run_clips(run: Path) -> list[StoredClip]:
    """The clips of a run's feature store; empty if there is no run or no store."""
    try:
        return list(FeatureStore(read_config(run).store_path).clips)
    except (AvcilError, OSError):
        return []


def _first_of_each(clips: list[StoredClip], split: str) -> list[StoredClip]:
    first: dict[str, StoredClip] = {}
    for clip in clips:
        if clip.split == split and clip.visual and Path(clip.path).is_file():
            first.setdefault(clip.label, clip)
    return list(first.values())
