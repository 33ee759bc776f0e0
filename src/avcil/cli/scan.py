"""`avcil scan`: from a folder of media files to a clip list."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional


@dataclass(frozen=True, kw_only=True)
class Args:
    """List the clips of a folder: SPLIT/CLASS/clip, or CLASS/clip with a split drawn by a seed."""

    folder: Positional[Path]
    """The folder of media files."""
    out: Path
    """The clip list to write, a CSV."""
    val_fraction: float = 0.15
    """The part of each class drawn for validation where the folder has no val split; 0 draws none."""
    test_fraction: float = 0.2
    """The part of each class drawn for testing where the folder has no test split."""
    seed: int = 0
    """The seed of the draw."""
    layout: Literal["class", "split"] | None = None
    """What the folders mean: class is CLASS/clip, split is SPLIT/CLASS/clip. Unless given, the folders decide, and an
    ambiguous case is an error. With class, a class can be named train, val or test."""


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
