"""Start and end times of the clips of a benchmark in their YouTube videos.

The ids of VGGSound contain the second at which the clip begins. Those of AVE and Kinetics-Sounds do not; the
annotations of AudioSet, from which AVE was taken, and of Kinetics have them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence, Set
from pathlib import Path

from avcil.datasets.video_names import VIDEO_ID
from avcil.errors import InputError
from avcil.utils.csv_files import read_rows

CLIP_SECONDS = 10.0
"""Length of the clips of AVE, Kinetics and VGGSound; those at the end of a video may be shorter."""
_MAX_FILE_BYTES = 256 << 20
"""Bytes of a file with times; Kinetics-700 and AudioSet have less than 100 MB."""
_EXPECTED = (
    "the CSV of Kinetics (columns youtube_id, time_start, time_end) or of AudioSet's segments (lines "
    "`YTID, start_seconds, end_seconds, positive_labels`)"
)

Times = dict[str, tuple[float, float]]
"""Seconds into the video at which a clip begins and ends, by clip id."""


def clip_times(clip_ids: Iterable[str], file: Path | None = None) -> Times:
    """Find the times of the clips of a benchmark.

    Args:
        clip_ids: The ids of the benchmark.
        file: Annotations with times, for benchmarks whose ids do not contain them.

    Returns:
        The known times; clips without known times are left out.

    Raises:
        InputError: If the file cannot be read, has other columns, or has no time for any clip.
    """
    clip_ids = list(clip_ids)
    times = {clip_id: _time_of_id(clip_id) for clip_id in clip_ids if len(clip_id) > VIDEO_ID}
    if file is None:
        return times
    times_of_file = _read_times(Path(file), {clip_id for clip_id in clip_ids if clip_id not in times})
    if not times_of_file:
        raise InputError(
            f"{file} (--times) lists no video whose time is needed. The ids of VGGSound contain their times; for "
            f"other benchmarks, give {_EXPECTED}"
        )
    return times | times_of_file


def _time_of_id(clip_id: str) -> tuple[float, float]:
    start = float(clip_id[VIDEO_ID + 1 :])
    return start, start + CLIP_SECONDS


def _read_times(file: Path, videos: Set[str]) -> Times:
    """The times of these videos; of several lines for one video, the first counts."""
    times: Times = {}
    columns = (0, 1, 2)
    expected = f"Expected for --times is {_EXPECTED}"
    for row in read_rows(file, limit=_MAX_FILE_BYTES, expected=expected, skipinitialspace=True):
        if "youtube_id" in row:
            columns = _column_positions(row, file)
        elif row and not row[0].startswith("#"):
            video, start, end = _cells(row, columns, file)
            if video in videos:
                times.setdefault(video, (start, end))
    return times


def _column_positions(header: Sequence[str], file: Path) -> tuple[int, int, int]:
    lacking = [name for name in ("time_start", "time_end") if name not in header]
    if lacking:
        raise InputError(f"{file} (--times) has no column {' and '.join(lacking)}. Expected is {_EXPECTED}")
    return header.index("youtube_id"), header.index("time_start"), header.index("time_end")


def _cells(row: Sequence[str], positions: tuple[int, int, int], file: Path) -> tuple[str, float, float]:
    try:
        video, start, end = row[positions[0]], float(row[positions[1]]), float(row[positions[2]])
    except (IndexError, ValueError):
        video, start, end = "", math.nan, math.nan
    if not (0 <= start < end < math.inf and len(video) == VIDEO_ID):
        raise InputError(
            f"{file} (--times): the line {','.join(row)[:120]!r} does not give a video id with its times. Expected "
            f"is {_EXPECTED}"
        )
    return video, start, end
