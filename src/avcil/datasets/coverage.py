"""Report of a scan for a published benchmark, as text and as files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from avcil.data.clips import SPLITS, one_line
from avcil.data.folders import shown_suffixes
from avcil.data.scan import listed
from avcil.datasets.raw_videos import BenchmarkScan
from avcil.utils.csv_files import write_csv
from avcil.utils.text_table import text_table

Coverage = dict[str, dict[str, tuple[int, int]]]
"""Clips found and clips of the benchmark, by class and split."""


def coverage(scan: BenchmarkScan) -> Coverage:
    """Count the clips found and all clips of each class and split."""
    available = Counter((clip.label, clip.split) for clip in scan.clips)
    return {
        label: {split: (available[label, split], count) for split, count in counts.items()}
        for label, counts in scan.benchmark.counts().items()
    }


def summary(scan: BenchmarkScan) -> str:
    """Report of a scan as text: coverage by split and class, and what was left out."""
    table = coverage(scan)
    total = len(scan.benchmark.clips)
    lines = [
        f"{scan.folder}: {len(scan.clips)} of {total} clips of {scan.benchmark.name} found",
        *_table(table),
    ]
    lines += _empty_classes(table)
    absent = sum(reason == "no file" for reason in scan.missing.values())
    if scan.missing:
        lines.append(
            f"missing clips: {absent} without a file, {len(scan.missing) - absent} without a usable file"
        )
    parts = sum(clip.start is not None for clip in scan.clips)
    if parts:
        lines.append(f"clips that are a part of a whole video, by their times: {parts}")
    lines += [f"clips without {name}: {count}" for name, count in scan.missing_tracks.items() if count]
    lines += listed("damaged, truncated or unclear files", scan.unusable)
    lines += listed("further files of the same clips, not used", scan.duplicates)
    lines += listed("files with a remark", scan.remarks)
    lines += listed("media files without a YouTube id in the name", scan.without_id)
    lines += listed("files and folders that cannot be read", scan.unread)
    if scan.other_videos:
        lines.append(f"media files of other videos: {len(scan.other_videos)}")
    if scan.ignored:
        lines.append(f"files that are not media: {shown_suffixes(scan.ignored)}")
    return "\n".join(lines)


def _table(table: Coverage) -> Iterator[str]:
    """One row for each class that is not complete, and the total."""
    rows = [
        [one_line(label), *(f"{present}/{count}" for present, count in (splits[split] for split in SPLITS))]
        for label, splits in table.items()
        if any(present < count for present, count in splits.values())
    ]
    complete = len(table) - len(rows)
    if complete:
        rows.append(
            [f"{complete} complete classes", *(_sum(table, split, complete=True) for split in SPLITS)]
        )
    rows.append(["total", *(_sum(table, split) for split in SPLITS)])
    yield from text_table(rows, ["class", *SPLITS], indent=2).splitlines()


def _sum(table: Coverage, split: str, *, complete: bool = False) -> str:
    """Clips found and all clips of a split, of all classes or of the complete ones."""
    chosen = [
        splits[split]
        for splits in table.values()
        if not complete or all(present == count for present, count in splits.values())
    ]
    return f"{sum(present for present, _ in chosen)}/{sum(count for _, count in chosen)}"


def _empty_classes(table: Coverage) -> Iterator[str]:
    for split in ("train", "test"):
        empty = [label for label, splits in table.items() if not splits[split][0]]
        if empty:
            yield (
                f"no {split} clip of {len(empty)} classes ({', '.join(one_line(repr(label)) for label in empty[:5])}"
                f"{', ...' if len(empty) > 5 else ''}): avcil train --benchmark needs at least one of each class"
            )


def write_missing(clip_list: Path, scan: BenchmarkScan) -> Path | None:
    """Write the missing clips beside the clip list.

    Args:
        clip_list: The clip list.
        scan: The scan.

    Returns:
        The CSV file with the columns clip_id, label, split and reason; None if no clip is missing, and then an
        existing file is removed.
    """
    path = Path(clip_list).with_name(f"{Path(clip_list).stem}.missing.csv")
    if not scan.missing:
        path.unlink(missing_ok=True)
        return None
    clips = scan.benchmark.clips
    rows = [
        (clip_id, clips[clip_id].label, clips[clip_id].split, reason)
        for clip_id, reason in scan.missing.items()
    ]
    write_csv(path, ["clip_id", "label", "split", "reason"], rows)
    return path
