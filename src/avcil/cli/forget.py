"""avcil forget: remove clips or classes from a saved model."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from avcil.cli.new_model import check_out, save_new
from avcil.data.clips import one_line
from avcil.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Args:
    """Remove clips or classes from a saved model and write a new model. The old model does not change. The clips
    are read and subtracted, so the result equals a model that never learned them."""

    model: Annotated[Path, tyro.conf.Positional]
    """A finished run directory, or a model folder."""
    clips: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Files CLASS/clip.mp4, the folders that were given to avcil learn, or one clip list (.csv: its train clips)."""
    out: Path
    """Folder of the new model."""
    classes: Annotated[tuple[str, ...], tyro.conf.arg(name="class")] = ()
    """Classes that must never be predicted again. Their clips still contribute to the shared covariance. To remove
    that as well, give the clips instead."""
    background: tuple[Path, ...] = ()
    """Clips, or folders of clips, that were learned with avcil learn --background."""
    not_learned: Literal["fail", "skip", "subtract"] | None = None
    """What to do with clips that the model has not learned, such as those that avcil learn held out. fail: nothing
    is forgotten. skip: they are listed and skipped. subtract: they are subtracted without this check, for learned
    clips whose features differ by rounding because another processor computed them. Default: skip for folders, fail
    for files and clip lists."""

    def __post_init__(self) -> None:
        if bool(self.clips or self.background) == bool(self.classes):
            raise InputError("give either clips to forget or --class LABEL")
        if self.classes and self.not_learned:
            raise InputError("--not-learned applies to clips, not to --class. Leave it out")


def run(args: Args) -> None:
    """Forget, save, and print the changes."""
    from avcil.inference import Recognizer

    check_out(args.out, models=[args.model])
    recognizer = Recognizer.load(args.model)
    before = recognizer.classes_
    for label in dict.fromkeys(args.classes):
        recognizer.forget_class(label)
    if not args.classes:
        clips, labels = _clips(args)
        report = recognizer.forget(clips, labels, not_learned=args.not_learned or _default(args))
        for problem in report.problems:
            print(f"skipped: {one_line(str(problem.path))}: {problem.reason}", file=sys.stderr)
        counts = [f"{count} of {one_line(label)}" for label, count in report.forgotten.items()]
        print(f"forgot clips: {', '.join(counts)}")
        for note in report.notes:
            print(f"note: {note}")
    removed = [one_line(label) for label in before if label not in recognizer.classes_]
    if removed:
        print(f"forgot classes: {', '.join(removed)}")
    save_new(recognizer, args.out, models=[args.model])


def _default(args: Args) -> Literal["fail", "skip"]:
    """What happens to clips that were not learned: folders can contain held-out clips, which are skipped."""
    return "skip" if all(path.is_dir() for path in (*args.clips, *args.background)) else "fail"


def _clips(args: Args) -> tuple[list, list[str]]:
    """The clips to forget, and their classes."""
    from avcil.cli.clip_paths import labeled_files, media_files
    from avcil.data.clips import read_clips
    from avcil.saved_models.folder import BACKGROUND

    background = [(path, BACKGROUND) for path in media_files(args.background)]
    if any(path.suffix.lower() == ".csv" for path in args.clips):
        if len(args.clips) > 1 or background:
            raise InputError("give one clip list, or files and folders, not both")
        listed = [clip for clip in read_clips(args.clips[0]) if clip.split == "train"]
        return listed, [clip.label for clip in listed]
    pairs = list(labeled_files([path for path in args.clips if path.is_dir()]))
    pairs += [(path, path.resolve().parent.name) for path in args.clips if not path.is_dir()] + background
    return [path for path, _ in pairs], [label for _, label in pairs]
