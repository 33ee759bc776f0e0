"""Finding the clips of a published benchmark in a folder of downloaded videos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avcil.data.clips import Clip
from avcil.data.folders import check_folder, is_text, media_of, walk
from avcil.data.probing import probe_files
from avcil.data.scan import ClipProblem
from avcil.datasets.clip_times import CLIP_SECONDS, Times, clip_times
from avcil.datasets.file_matching import LAYOUTS, Candidate, Matching, match_files
from avcil.datasets.protocols import PROTOCOLS
from avcil.datasets.published import PublishedBenchmark, load_published
from avcil.datasets.video_names import VIDEO_ID
from avcil.errors import InputError

if TYPE_CHECKING:
    from avcil.media import MediaInfo

_EXPECTED = "the folder with the videos of the data set"
_MIN_CLIP_SECONDS, _MAX_CLIP_SECONDS = CLIP_SECONDS - 2, CLIP_SECONDS + 2
"""Seconds outside of which a file probably is not one clip of the data set. A truncated file must have this minimum."""
_MIN_PART_SECONDS = 1.0
"""Seconds of a clip that a whole video must contain: clips at its end are shorter."""

Segment = tuple[float | None, float | None]
"""Seconds at which a clip begins and ends in its file; None for the beginning and the end of the file."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkScan:
    """The files of a benchmark that a folder contains."""

    folder: Path
    benchmark: PublishedBenchmark
    clips: tuple[Clip, ...]
    """The clips found, with labels, splits and ids of the benchmark, in its order."""
    missing: Mapping[str, str]
    """The ids of all other clips of the benchmark, with the reason: no file, or none that can be used."""
    unusable: tuple[ClipProblem, ...]
    """Files of the benchmark that are damaged, truncated, or not identified by their names alone."""
    duplicates: tuple[ClipProblem, ...]
    """Further files of clips, with the file that was chosen instead."""
    other_videos: tuple[ClipProblem, ...]
    """Files of videos, or of parts of videos, that the benchmark does not contain."""
    without_id: tuple[ClipProblem, ...]
    """Media files whose names contain no YouTube id."""
    unread: tuple[ClipProblem, ...]
    """Files and folders that could not be opened."""
    remarks: tuple[ClipProblem, ...]
    """What is unusual about files that are used, such as an unexpected length."""
    missing_tracks: Mapping[str, int]
    """How many of the clips found lack "video" or "audio"."""
    ignored: Mapping[str, int]
    """Number of files that are not media, by suffix."""

    @property
    def left_out(self) -> tuple[ClipProblem, ...]:
        """All files that are not used, with the reason."""
        return (*self.unusable, *self.duplicates, *self.without_id, *self.other_videos, *self.unread)


def scan_benchmark(
    folder: str | Path, benchmark: PublishedBenchmark, *, times: Path | None = None
) -> BenchmarkScan:
    """Find the clips of a published benchmark by the YouTube ids in file names.

    Of several files for a clip, the first usable one is chosen, in this order: files with video and audio; files that
    are not truncated; names with a start second; names that are only the id; files in a folder with the name of the
    class; the fewest folders; the alphabet.

    Args:
        folder: The videos, in folders of any names.
        benchmark: The benchmark.
        times: Annotations of Kinetics or AudioSet (see `clip_times`). With known times, a file that is longer than
            a clip and has no start second in its name is used as a whole video.

    Raises:
        InputError: If the folder is missing, has no media file, or no file name has an id of the benchmark.
    """
    folder = Path(folder)
    check_folder(folder, _EXPECTED)
    known_times = clip_times(benchmark.clips, times)
    tree = walk(folder)
    media, ignored = media_of(folder, tree, _EXPECTED)
    labels = {clip_id: clip.label for clip_id, clip in benchmark.clips.items()}
    matching = match_files(labels, filter(is_text, media), known_times)
    if not matching.candidates:
        raise InputError(_nothing_found(folder, benchmark, matching))
    selection = _Selection(folder, benchmark, matching, known_times)
    unread = [
        *tree.unread,
        *((path, "its name is not UTF-8; rename it") for path in media if not is_text(path)),
    ]
    return BenchmarkScan(
        folder=folder,
        benchmark=benchmark,
        clips=tuple(selection.clips),
        missing=selection.missing,
        unusable=_problems(folder, selection.unusable),
        duplicates=_problems(folder, selection.duplicates),
        other_videos=_problems(folder, dict.fromkeys(matching.other_videos, f"not in {benchmark.name}")),
        without_id=_problems(folder, dict.fromkeys(matching.without_id, "its name contains no YouTube id")),
        unread=_problems(folder, dict(unread)),
        remarks=_problems(folder, selection.remarks),
        missing_tracks=selection.missing_tracks,
        ignored=ignored,
    )


def _problems(folder: Path, reasons: Mapping[Path, str]) -> tuple[ClipProblem, ...]:
    return tuple(ClipProblem(path=folder / path, reason=reason) for path, reason in sorted(reasons.items()))


def _nothing_found(folder: Path, benchmark: PublishedBenchmark, matching: Matching) -> str:
    """Error message: the content of the folder if it has no clip of the benchmark."""
    other_files = [*matching.other_videos, *matching.without_id]
    kinds = [
        f"{len(paths)} {what} (such as {paths[0]})"
        for paths, what in (
            (matching.other_videos, "with YouTube ids or start seconds that it does not contain"),
            (matching.without_id, "without a YouTube id in the name"),
        )
        if paths
    ]
    text = f"no media file in {folder} is a clip of {benchmark.name}; found: {', and '.join(kinds)}. "
    for name in PROTOCOLS:
        try:
            other = load_published(name)
        except InputError:  # its split files were not fetched
            continue
        labels = {clip_id: clip.label for clip_id, clip in other.clips.items()}
        count = len(match_files(labels, other_files, clip_times(labels)).candidates)
        if count:
            return f"{text}The folder has {count} clips of {name}: use --benchmark {name}"
    return f"{text}Recognized names: {LAYOUTS}"


class _Selection:
    """The choice of one file for each clip."""

    def __init__(self, folder: Path, benchmark: PublishedBenchmark, matching: Matching, times: Times) -> None:
        self.folder, self.times = folder, times
        self.clips: list[Clip] = []
        self.missing: dict[str, str] = {}
        self.unusable: dict[Path, str] = {}
        self.duplicates: dict[Path, str] = {}
        self.remarks: dict[Path, str] = {}
        self.missing_tracks = {"video": 0, "audio": 0}
        self._clips_of_video = Counter(clip_id[:VIDEO_ID] for clip_id in benchmark.clips)
        paths = sorted({file.path for files in matching.candidates.values() for file in files})
        self._infos = dict(zip(paths, probe_files([folder / path for path in paths]), strict=True))
        used: set[Path] = set()
        for clip_id, known in benchmark.clips.items():
            used |= self._choose(clip_id, known.label, known.split, matching.candidates.get(clip_id, ()))
        for reasons in (self.unusable, self.duplicates):  # a whole video can be used for one clip only
            for path in used & reasons.keys():
                del reasons[path]

    def _choose(self, clip_id: str, label: str, split: str, files: Sequence[Candidate]) -> set[Path]:
        """Take the first usable file for a clip; returns it, or nothing."""
        usable: list[tuple[Path, MediaInfo, Segment]] = []
        reasons: dict[Path, str] = {}
        for file in files:
            info = self._infos[file.path]
            segment = self._segment(clip_id, file, info)
            if isinstance(info, str) or isinstance(segment, str):
                reasons[file.path] = str(segment)
            else:
                usable.append((file.path, info, segment))
        self.unusable |= reasons
        if not usable:
            shown = "; ".join(f"{path}: {reason}" for path, reason in reasons.items())
            self.missing[clip_id] = shown or "no file"
            return set()
        usable.sort(key=lambda each: (not (each[1].has_video and each[1].has_audio), each[1].is_truncated))
        path, info, (start, end) = usable[0]
        self.duplicates |= {other: f"clip {clip_id} is taken from {path}" for other, *_ in usable[1:]}
        self.clips.append(
            Clip(clip_id=clip_id, path=self.folder / path, label=label, split=split, start=start, end=end)
        )
        self.missing_tracks["video"] += not info.has_video
        self.missing_tracks["audio"] += not info.has_audio
        remark = "; ".join([*_length_remark(info, is_part=start is not None), *info.problems])
        if remark:
            self.remarks[path] = remark
        return {path}

    def _segment(self, clip_id: str, file: Candidate, info: MediaInfo | str) -> Segment | str:
        """The part of a file that is the clip, or why the file cannot be used for it."""
        if isinstance(info, str):
            return info
        time = None if file.name.start is not None else self.times.get(clip_id)  # else not a whole video
        if time is not None and info.duration > _MAX_CLIP_SECONDS:
            return _part_of_video(time, info)
        if info.is_truncated and info.duration < _MIN_CLIP_SECONDS:
            return f"truncated: {'; '.join(info.problems)}"
        if time is None:
            return None, None
        count = self._clips_of_video[clip_id[:VIDEO_ID]]
        if count > 1:
            return f"its name has no start second, and {count} clips of the benchmark are parts of its video"
        return None, None


def _part_of_video(time: tuple[float, float], info: MediaInfo) -> Segment | str:
    """The part of a whole video that is a clip, or why the file does not contain it."""
    start, end = time
    if info.duration < start + (_MIN_CLIP_SECONDS if info.is_truncated else _MIN_PART_SECONDS):
        what = f"it lasts {info.duration:.1f} s, but the clip begins at {start:g} s of its video"
        return f"truncated: {what}" if info.is_truncated else what
    return start, end if end < info.duration else None


def _length_remark(info: MediaInfo, *, is_part: bool) -> Iterator[str]:
    if is_part or _MIN_CLIP_SECONDS <= info.duration <= _MAX_CLIP_SECONDS:
        return
    yield f"it lasts {info.duration:.1f} s; the clips of the data set last {CLIP_SECONDS:g} s" + (
        ". If it is the whole video, give the times of the clips with --times"
        if info.duration > _MAX_CLIP_SECONDS
        else ""
    )
