"""`avcil scan`: write a clip list of the media files in a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional


@dataclass(frozen=True, kw_only=True)
class Args:
    """List the clips of a folder and assign them to splits. The folders are SPLIT/CLASS/clip (SPLIT is train, val or
    test), or CLASS/clip, for which splits are drawn at random. With --benchmark, classes and splits are those of a
    published benchmark, and folders can have any names."""

    folder: Positional[Path]
    """The folder with the media files."""
    out: Path
    """The clip list to write, a CSV file."""
    val_fraction: float | None = None
    """Fraction of each class drawn for validation if the folder has no val split: 0.15 by default. 0 draws none."""
    test_fraction: float | None = None
    """Fraction of each class drawn for testing if the folder has no test split: 0.2 by default."""
    seed: int | None = None
    """Random seed of the splits: 0 by default."""
    layout: Literal["class", "split"] | None = None
    """Structure of the folders: class for CLASS/clip, split for SPLIT/CLASS/clip. By default it is detected; if
    it is ambiguous, the command stops. With class, a class can be named train, val or test."""
    benchmark: Literal["ave-ci", "ks-ci", "vs100-ci", "vs100-ci-leak-free"] | None = None
    """Find the clips of this published benchmark by the YouTube ids in file names."""
    splits: Path | None = None
    """With --benchmark: a copy of the released split files. Default: the cache of `avcil benchmark fetch`."""
    times: Path | None = None
    """With --benchmark: annotations of Kinetics or AudioSet, to find the clips in whole YouTube videos."""


def run(args: Args) -> None:
    """Scan, write the list, and print the summary."""
    given = {
        name: value
        for name in ("val_fraction", "test_fraction", "seed", "layout")
        if (value := getattr(args, name)) is not None
    }
    listed = _scan_folder(args, given) if args.benchmark is None else _scan_benchmark(args, given)
    if listed:
        print(f"files left out, with the reason: {listed}")
    print(f"wrote {args.out}; next: avcil extract {args.out} --out FOLDER")


def _scan_folder(args: Args, options: dict[str, Any]) -> Path | None:
    """Write the clip list of a folder and the file of problems; returns the latter."""
    from avcil.data.clips import write_clips
    from avcil.data.scan import scan, write_problems
    from avcil.errors import InputError

    if args.splits is not None or args.times is not None:
        raise InputError("--splits and --times can be given only with --benchmark")
    result = scan(args.folder, **options)
    write_clips(args.out, result.clips)
    listed = write_problems(args.out, result.problems)
    print(result.summary)
    return listed


def _scan_benchmark(args: Args, options: dict[str, Any]) -> Path | None:
    """Write the clips of a published benchmark, those missing, remarks and problems; returns the file of the latter."""
    from avcil.data.clips import write_clips
    from avcil.data.scan import write_problems
    from avcil.datasets.coverage import summary, write_missing
    from avcil.datasets.published import load_published
    from avcil.datasets.raw_videos import scan_benchmark
    from avcil.errors import InputError

    assert args.benchmark is not None
    if options:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in options)
        raise InputError(f"--benchmark has its own classes and splits: leave out {names}")
    result = scan_benchmark(args.folder, load_published(args.benchmark, copy=args.splits), times=args.times)
    if not result.clips:
        raise InputError(f"none of the files can be used:\n{summary(result)}")
    write_clips(args.out, result.clips)
    listed = write_problems(args.out, result.left_out)
    print(summary(result))
    if remarks := write_problems(args.out, result.remarks, kind="remarks"):
        print(f"remarks about files that are used: {remarks}")
    if missing := write_missing(args.out, result):
        print(
            f"missing clips, with the reason: {missing}; to print their URLs: avcil benchmark list {args.benchmark} "
            f"--missing {args.out}"
        )
    return listed
