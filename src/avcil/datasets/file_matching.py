"""Matches media files to clips of a published benchmark by file name.

Nothing is read from the files. Folders do not matter, except that of several files for a clip, one in a folder with
the name of its class comes first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avcil.datasets.clip_times import Times
from avcil.datasets.video_names import VIDEO_ID, VideoName, read_video_name

LAYOUTS = (
    "ID.mp4 (AVE), ID_START.mp4 (VGGSound), ID_START_END.mp4 (Kinetics), each also after v_ and in any folders, and "
    "the names that yt-dlp gives, Title [ID].mp4; ID is the YouTube id of 11 characters, START and END are seconds"
)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A file that can be a clip."""

    path: Path
    """Relative to the folder of the data set."""
    name: VideoName


@dataclass(frozen=True, kw_only=True)
class Matching:
    """The files of a folder, classified by their names."""

    candidates: Mapping[str, tuple[Candidate, ...]]
    """Files of each clip by clip id, in order of preference."""
    other_videos: tuple[Path, ...]
    """Files with the id of a video, or with a part of a video, that the benchmark does not contain."""
    without_id: tuple[Path, ...]
    """Files whose names contain no YouTube id."""


def match_files(labels: Mapping[str, str], paths: Iterable[Path], times: Times) -> Matching:
    """Match file names to clip ids.

    The result does not depend on the order of the paths.

    Args:
        labels: The class of each clip of the benchmark, by clip id: a YouTube id, or as in VGGSound a YouTube id
            with the start second, `ID_000030`.
        paths: The media files, relative to the folder of the data set.
        times: Known times of clips. A file name with another start is another part of the video. A file name
            without start can be any clip of the video.
    """
    by_video: dict[str, list[str]] = defaultdict(list)
    for clip_id in labels:
        by_video[clip_id[:VIDEO_ID]].append(clip_id)
    candidates_of: dict[str, list[Candidate]] = defaultdict(list)
    other_videos: list[Path] = []
    without_id: list[Path] = []
    for path in sorted(paths):
        readings = list(read_video_name(path.stem))
        clips = _clips_of(readings, by_video, times)
        for clip_id, name in clips:
            candidates_of[clip_id].append(Candidate(path=path, name=name))
        if not clips:
            (other_videos if readings else without_id).append(path)
    return Matching(
        candidates={
            clip_id: tuple(sorted(candidates_of[clip_id], key=_preference(labels[clip_id])))
            for clip_id in labels
            if clip_id in candidates_of
        },
        other_videos=tuple(other_videos),
        without_id=tuple(without_id),
    )


def _clips_of(
    readings: Iterable[VideoName], by_video: Mapping[str, Sequence[str]], times: Times
) -> list[tuple[str, VideoName]]:
    """The clips that match the file name, by the first pattern that matches any."""
    for name in readings:
        clips = [clip_id for clip_id in by_video.get(name.video, ()) if _can_be(name, times.get(clip_id))]
        if clips:
            return [(clip_id, name) for clip_id in clips]
    return []


def _can_be(name: VideoName, time: tuple[float, float] | None) -> bool:
    return name.start is None or time is None or int(name.start) == int(time[0])


def _preference(label: str) -> Callable[[Candidate], tuple[Any, ...]]:
    """A sorting key for the files of a clip: a stated start first, then the more certain form of the name."""

    def key(candidate: Candidate) -> tuple[Any, ...]:
        path, name = candidate.path, candidate.name
        in_class_folder = _letters(label) in map(_letters, path.parent.parts)
        return name.start is None, name.pattern, not in_class_folder, len(path.parts), path

    return key


def _letters(text: str) -> str:
    """A class name without blanks, signs and case, which folder names often change."""
    return "".join(filter(str.isalnum, text.casefold()))
