"""avcil learn: add classes, or clips of known classes, to a saved model."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from avcil.data.clips import one_line
from avcil.data.renaming import renaming
from avcil.errors import InputError

if TYPE_CHECKING:
    from avcil.data.scan import ClipProblem
    from avcil.inference import Recognizer
    from avcil.inference.evaluated_learning import EvaluatedLearnReport, Score


@dataclass(frozen=True, kw_only=True)
class Args:
    """Add classes to a saved model from folders of clips. The old model stays in place until the new one is
    complete."""

    model: Annotated[Path, tyro.conf.Positional]
    """A finished run directory, or a model folder."""
    clips: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Folders CLASS/clip.mp4, folders of such folders, or one clip list (.csv: its train clips are learned, its
    test clips are held out)."""
    out: Path | None = None
    """Folder of the new model. Default: it replaces the old one."""
    extend: bool = False
    """Also learn additional clips of classes that the model already has."""
    rename: tuple[str, ...] = ()
    """CLASS=NAME, repeatable: learn the clips of the folder CLASS as the class NAME."""
    background: tuple[Path, ...] = ()
    """Clips, or folders of clips, that belong to no class. Clips that are more similar to these than to any class are
    reported as possibly of an unknown class."""
    held_out: float = 0.2
    """Fraction of the clips of each given class held out to measure accuracy before and after. 0 holds out none."""

    def __post_init__(self) -> None:
        if not self.clips and not self.background:
            raise InputError("give clips to learn: avcil learn MODEL FOLDER..., or --background FOLDER")
        if not 0 <= self.held_out < 1:
            raise InputError(f"--held-out must be at least 0 and below 1; not {self.held_out}")
        renaming(self.rename, where="--rename")


def run(args: Args) -> None:
    """Learn, save, and print the accuracy before and after."""
    from avcil.cli.clip_paths import media_files
    from avcil.inference import Recognizer
    from avcil.inference.evaluated_learning import learn_and_evaluate
    from avcil.inference.held_out import clips_of_run
    from avcil.runs.run_model import model_folder
    from avcil.utils.files import folder_lock
    from avcil.utils.progress import PhaseProgress

    recognizer = Recognizer.load(args.model)
    folder = model_folder(args.model) if args.out is None else args.out
    clips, labels, held_out = _clips(args) if args.clips else ([], [], None)
    labels = _renamed(labels, args, recognizer.classes_)
    background = list(media_files(args.background))
    with folder_lock(folder, "learning"):
        if clips:
            report = learn_and_evaluate(
                recognizer,
                clips,
                labels,
                old=clips_of_run(args.model, recognizer.snapshot()),
                held_out=held_out,
                fraction=args.held_out,
                progress=PhaseProgress(),
            )
            _print(report)
        if background:
            _learn_background(recognizer, background)
        recognizer.save(folder)
    print(f"\nThe model has {len(recognizer.classes_)} classes now; it is in {folder}")


def _print_problems(problems: Iterable[ClipProblem]) -> None:
    for problem in problems:
        print(f"skipped: {one_line(str(problem.path))}: {problem.reason}", file=sys.stderr)


def _learn_background(recognizer: Recognizer, clips: Sequence[Path]) -> None:
    from avcil.utils.progress import PhaseProgress

    try:
        report = recognizer.learn_background(clips, progress=PhaseProgress())
    except InputError as error:
        raise InputError(f"--background: {error}. The new model was not saved") from None
    _print_problems(report.problems)
    count = sum({**report.new, **report.extended}.values())
    print(f"learned {count} background clips in {report.seconds_learning:.2f} s")


def _clips(args: Args) -> tuple[list, list[str], list[bool] | None]:
    """Clips, their classes, and whether each is held out; None if that is not specified."""
    from avcil.cli.clip_paths import labeled_files
    from avcil.data.clips import read_clips
    from avcil.data.copies import check_leaks

    if any(path.suffix.lower() == ".csv" for path in args.clips):
        if len(args.clips) > 1:
            raise InputError("give one clip list, or folders, not both")
        listed = [clip for clip in read_clips(args.clips[0]) if clip.split != "val"]
        for note in check_leaks(listed, str(args.clips[0])):
            print(f"note: {note}", file=sys.stderr)
        return listed, [clip.label for clip in listed], [clip.split == "test" for clip in listed]
    pairs = list(labeled_files(args.clips))
    return [path for path, _ in pairs], [label for _, label in pairs], None


def _renamed(labels: list[str], args: Args, known: tuple[str, ...]) -> list[str]:
    """Apply --rename; InputError for classes that the model has, without --extend."""
    names = renaming(args.rename, where="--rename")
    missing = sorted(set(names) - set(labels))
    if missing:
        raise InputError(f"--rename: there are no clips of {', '.join(map(repr, missing))}")
    labels = [names.get(label, label) for label in labels]
    clash = sorted(set(labels) & set(known))
    if clash and not args.extend:
        raise InputError(
            f"the model already has {', '.join(map(repr, clash[:5]))}. Add --extend if these are more clips of the "
            f"same class, or --rename {clash[0]!r}=OTHER-NAME if they are another class"
        )
    return labels


def _print(report: EvaluatedLearnReport) -> None:
    from avcil.inference.evaluated_learning import total
    from avcil.utils.text_table import text_table

    learned = report.learned
    _print_problems(report.problems)
    counts = [f"{count} of {one_line(label)}" for label, count in {**learned.new, **learned.extended}.items()]
    print(
        f"learned clips: {', '.join(counts)}; reading took {learned.seconds_reading:.1f} s, learning "
        f"{learned.seconds_learning:.2f} s"
    )
    scores = [
        total("old classes", report.old),
        *report.new,
        total("all classes", [*report.old, *report.new]),
    ]
    rows = [_row(score) for score in scores if score is not None]
    if rows:
        header = ["accuracy on held-out clips", "clips", "before", "after"]
        print(f"\n{text_table(rows, header)}")
    for note in report.notes:
        print(f"note: {note}")


def _row(score: Score) -> list[str]:
    before = "-" if score.before is None else f"{100 * score.before / score.clips:.1f} %"
    return [one_line(score.label), str(score.clips), before, f"{100 * score.after / score.clips:.1f} %"]
