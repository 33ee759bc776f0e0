"""The videos of a benchmark as input for yt-dlp, which avcil does not call itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from avcil.data.clips import read_clips
from avcil.data.folders import MEDIA_SUFFIXES, walk
from avcil.datasets.clip_times import Times
from avcil.datasets.published import PublishedBenchmark
from avcil.datasets.raw_videos import scan_benchmark
from avcil.datasets.video_names import VIDEO_ID
from avcil.errors import InputError

URL = "https://www.youtube.com/watch?v="


def missing_clips(benchmark: PublishedBenchmark, found: Path, times: Path | None = None) -> list[str]:
    """The clips of a benchmark without a usable file, in the order of the benchmark.

    Args:
        benchmark: The benchmark.
        found: The folder with the videos, which is scanned; or a clip list that `avcil scan` wrote.
        times: As in `scan_benchmark`.

    Raises:
        InputError: If there is no such folder or list, or the list is of another data set.
    """
    if not found.exists():
        raise InputError(
            f"there is no {found} (--missing). Give the folder with the videos, or the clip list of avcil scan "
            f"--benchmark {benchmark.name}"
        )
    if found.is_dir() and not any(path.suffix.lower() in MEDIA_SUFFIXES for path in walk(found).files):
        return list(benchmark.clips)
    if found.is_dir():
        return list(scan_benchmark(found, benchmark, times=times).missing)
    present = {clip.clip_id for clip in read_clips(found)}
    if not present & benchmark.clips.keys():
        raise InputError(
            f"{found} (--missing) has no clip of {benchmark.name}. Give the folder with the videos, or the clip "
            f"list of avcil scan --benchmark {benchmark.name}"
        )
    return [clip_id for clip_id in benchmark.clips if clip_id not in present]


def url_list(clip_ids: Iterable[str], times: Times) -> Iterator[str]:
    """Lines of a file for `yt-dlp --batch-file`: one URL for each video, after comments with its clips.

    >>> list(url_list(["-F5wSJwBZjU"], {}))
    ['https://www.youtube.com/watch?v=-F5wSJwBZjU']
    """
    by_video: dict[str, list[str]] = defaultdict(list)
    for clip_id in clip_ids:
        by_video[clip_id[:VIDEO_ID]].append(clip_id)
    for video, clips in by_video.items():
        for clip_id in clips:
            if clip_id in times:
                start, end = times[clip_id]
                yield f"# clip {clip_id}: seconds {start:g} to {end:g}"
        yield URL + video


def download_script(clip_ids: Iterable[str], times: Times) -> Iterator[str]:
    """Lines of a shell script that downloads only the seconds of each clip, one call of yt-dlp for each.

    The options of the script are passed on to yt-dlp. Files get names that `avcil scan --benchmark` recognizes.

    Raises:
        InputError: If the time of a clip is not known.
    """
    clip_ids = list(clip_ids)
    unknown = [clip_id for clip_id in clip_ids if clip_id not in times]
    if unknown:
        raise InputError(
            f"--script needs the times of the clips, but those of {len(unknown)} of {len(clip_ids)} clips are not "
            f"known (such as {unknown[0]}). Give --times FILE: the CSV of Kinetics, or of AudioSet's segments for "
            "ave-ci; or leave out --script, and download the whole videos"
        )
    yield "#!/bin/sh"
    for clip_id in clip_ids:
        start, end = times[clip_id]
        video = clip_id[:VIDEO_ID]
        yield (
            f"yt-dlp --download-sections='*{start:g}-{end:g}' --force-keyframes-at-cuts "
            f"--output='{video}_{start:06.0f}.%(ext)s' \"$@\" '{URL}{video}'"
        )
