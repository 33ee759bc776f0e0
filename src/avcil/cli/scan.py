"""`avcil scan`: from a folder of media files to a clip list."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional


@dataclass(frozen=True, kw_only=True)
class Args:
    """List the clips of a folder and assign them to splits. Folders are SPLIT/CLASS/clip, or CLASS/clip with
    random splits."""

    folder: Positional[Path]
    """The folder with the media files."""
    out: Path
    """The clip list to write, a CSV file."""
    val_fraction: float = 0.15
    """Fraction of each class drawn for validation if the folder has no val split. 0 draws none."""
    test_fraction: float = 0.2
    """Fraction of each class drawn for testing if the folder has no test split."""
    seed: int = 0
    """Random seed of the splits."""
    layout: Literal["class", "split"] | None = None
    """What the folders mean: class is CLASS/clip, split is SPLIT/CLASS/clip. By default it is detected, and an
    ambiguous folder is an error. With class, a class can be named train, val or test."""


def run(args: Args) -> None:
    """Scan, write the list, and print the summary."""
    from avcil.data.clips import write_clips
    from avcil.data.scan import scan, write_problems

    result = scan(
        args.folder,
        val_fraction=args.val_fraction,
        test_fraction=args.test_fraction,
        seed=args.seed,
        layout=args.layout,
    )
    write_clips(args.out, result.clips)
    listed = write_problems(args.out, result.problems)
    print(result.summary)
    if listed:
        print(f"all files left out, with the reason: {listed}")
    print(f"wrote {args.out}; next: avcil extract {args.out} --out FOLDER")
