"""Frames and sound of media files, and what is wrong with a file in plain words."""

from avcil.media.clip import ClipMedia, read_clip
from avcil.media.container import MediaError
from avcil.media.frames import sample_times
from avcil.media.probe import MediaInfo, probe

__all__ = ["ClipMedia", "MediaError", "MediaInfo", "probe", "read_clip", "sample_times"]
