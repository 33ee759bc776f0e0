"""avcil forget: remove clips or classes from a saved model."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from avcil.cli.new_model import check_out, save_new
from avcil.data.clips import one_line
from avcil.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Args:
    """Remove clips or classes from a saved model and write a new model. The old model does not change. The clips
    are read and subtracted, so the result equals a model that never learned them. Give only clips that were
    learned: a model does not store their names, so this cannot be checked."""

    model: Annotated[Path, tyro.conf.Positional]
    """A finished run directory, or a model folder."""
    clips: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Files CLASS/clip.mp4, folders of clips as given to avcil learn, or one clip list (.csv: its train clips)."""
    out: Path
    """Folder of the new model."""
    classes: Annotated[tuple[str, ...], tyro.conf.arg(name="class")] = ()
    """Classes that must never be predicted again. Their clips still contribute to the shared covariance. To remove
    that as well, give the clips instead."""
    held_out: float = 0.2
    """Fraction of each folder's clips that avcil learn held out. Use the same value as in avcil learn: these clips
    were not learned, so they are not subtracted."""

    def __post_init__(self) -> None:
        if bool(self.clips) == bool(self.classes):
            raise InputError("give either clips to forget or --class LABEL")
        if not 0 <= self.held_out < 1:
            raise InputError(f"--held-out must be at least 0 and below 1; not {self.held_out}")


def run(args: Args) -> None:
    """Forget, save, and print the changes."""
    from avcil.inference import Recognizer

    check_out(args.out, models=[args.model])
    recognizer = Recognizer.load(args.model)
    before = recognizer.classes_
    for label in dict.fromkeys(args.classes):
        recognizer.forget_class(label)
    if args.clips:
        clips, labels = _clips(args)
        recognizer.forget(clips, labels)
        counts = ", ".join(f"{count} of {one_line(label)}" for label, count in Counter(labels).items())
        print(f"forgot clips: {counts}")
    removed = [one_line(label) for label in before if label not in recognizer.classes_]
    if removed:
        print(f"forgot classes: {', '.join(removed)}")
    save_new(recognizer, args.out, models=[args.model])


def _clips(args: Args) -> tuple[list, list[str]]:
    """Clips that were learned, and their classes."""
    from avcil.cli.clip_paths import labeled_files
    from avcil.data.clips import read_clips
    from avcil.inference.held_out import hold_out

    if any(path.suffix.lower() == ".csv" for path in args.clips):
        if len(args.clips) > 1:
            raise InputError("give one clip list, or files and folders, not both")
        listed = [clip for clip in read_clips(args.clips[0]) if clip.split == "train"]
        return listed, [clip.label for clip in listed]
    pairs = list(labeled_files([path for path in args.clips if path.is_dir()]))
    held_out = hold_out([path for path, _ in pairs], [label for _, label in pairs], args.held_out)
    if any(held_out):
        print(f"{sum(held_out)} clips of the folders were held out by avcil learn: they are not subtracted")
    learned = [(path, path.resolve().parent.name) for path in args.clips if not path.is_dir()]
    learned += [pair for pair, is_out in zip(pairs, held_out, strict=True) if not is_out]
    return [path for path, _ in learned], [label for _, label in learned]
