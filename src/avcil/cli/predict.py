"""avcil predict: the class of clips, or a timeline of long videos."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from avcil.cli.rejection_words import check_rejection, rejection_of
from avcil.data.clips import one_line
from avcil.errors import AvcilError, InputError

if TYPE_CHECKING:
    from avcil.inference import Recognizer
    from avcil.inference.explanation import Explanation

Format = Literal["text", "json", "csv", "webvtt"]
SUFFIXES: dict[str, Format] = {".json": "json", ".csv": "csv", ".vtt": "webvtt", ".txt": "text"}


@dataclass(frozen=True, kw_only=True)
class Args:
    """Predict the class of each clip, or a timeline of events for long videos. The exit code is 2 if a file could
    not be predicted; the other files are predicted."""

    run: Annotated[Path, tyro.conf.Positional]
    """A finished run directory, or a model folder."""
    clips: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Media files, folders, or glob patterns in quotes."""
    top: int = 3
    """Number of classes shown per clip."""
    method_file: Path | None = None
    """The Python file of your own method. Needed only for closed-form models of a method that is not part of
    avcil."""
    error_rate: float = 0.05
    """Significance level of the test for unknown classes, which models of blade have. A clip is reported as
    possibly of an unknown class if its p-value is not above this level. About this fraction of clips of known
    classes is rejected by mistake."""
    threshold: tuple[str, ...] = ()
    """CLASS=PROBABILITY, such as doorbell=0.8: report a clip as possibly of an unknown class if CLASS is its most
    probable class with a smaller probability. Repeatable."""
    precision: float | None = None
    """Choose a threshold for each other class such that this fraction of its predictions is correct, such as 0.95.
    It is estimated from leave-one-out predictions of the calibration sample, which only models of blade have."""
    json: bool = False
    """Print a JSON list with one object per file: path, label, probability, predictions, known, p_value,
    threshold, notes; or path and error."""
    window: str | None = None
    """Predict a timeline from windows of this length, such as 2s."""
    hop: str | None = None
    """Time from one window to the next, such as 0.5s. Default: a quarter of the window."""
    format: Format | None = None
    """Format of the output, printed or written to --out: text, json, csv, and webvtt with --window."""
    out: Path | None = None
    """Also write the results to this file. Its suffix (.json, .csv, .vtt, .txt) selects the format."""
    explain: Path | None = None
    """Print the contribution of each modality and encoder to each prediction. Also write a JSON file and a video
    of each clip with its attention or sensitivity map to this folder."""

    def __post_init__(self) -> None:
        if self.top < 1:
            raise InputError(f"--top must be 1 or more; not {self.top}")
        check_rejection(self.error_rate, self.threshold, self.precision)
        if not self.clips:
            raise InputError("name at least one clip: avcil predict RUN CLIP...")
        if self.json and self.format not in (None, "json"):
            raise InputError(f"--json and --format {self.format} contradict each other; give one")
        if self.hop and not self.window:
            raise InputError("--hop goes with --window: avcil predict RUN VIDEO --window 2s --hop 0.5s")
        if self.window and self.explain:
            raise InputError("--explain is for clips; leave --window out")
        if self.out and not self.format and self.out.suffix.lower() not in SUFFIXES:
            raise InputError(f"--out {self.out}: the suffix must be {', '.join(SUFFIXES)}, or give --format")
        if self.written == "webvtt" and not self.window:
            raise InputError("webvtt is for timelines: give --window, as in --window 2s")
        for name in ("window", "hop"):
            if getattr(self, name) is not None:
                seconds(getattr(self, name), f"--{name}")

    @property
    def written(self) -> Format:
        """The format of what is written, or printed where there is no --out."""
        named: Format | None = "json" if self.json else self.format
        return named or (SUFFIXES[self.out.suffix.lower()] if self.out else "text")


def seconds(text: str, name: str) -> float:
    """Seconds as people write them.

    >>> seconds("0.5s", "--hop"), seconds("2", "--window"), seconds("250ms", "--hop")
    (0.5, 2.0, 0.25)
    """
    number, factor = (text[:-2], 1e-3) if text.endswith("ms") else (text.removesuffix("s"), 1.0)
    try:
        value = factor * float(number)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise InputError(f"{name} must be seconds above 0, as in 2s or 250ms; not {text!r}")
    return value


def run(args: Args) -> int:
    """Print the prediction of each file as soon as it is there; 2 if a file had none."""
    from avcil.inference import Recognizer

    if args.method_file is not None:
        from avcil.methods.registry import load_method

        load_method(str(args.method_file))
    recognizer = Recognizer.load(args.run)
    recognizer.rejection = rejection_of(args.error_rate, args.threshold, args.precision)
    recognizer.rejection.check_classes(recognizer.classes_)
    recognizer.thresholds()  # refused now rather than for every clip
    paths, failed = _paths(args)
    answer = _timelines if args.window else _clips
    try:
        failed += answer(args, recognizer, paths)
    except KeyboardInterrupt:
        kept = f"; what was answered is in {args.out}" if args.out else ""
        print(f"avcil: stopped{kept}", file=sys.stderr)
        return 130
    if failed:
        print(f"avcil: {failed} of {max(len(paths), failed)} files could not be answered", file=sys.stderr)
    return 2 if failed else 0


def _clips(args: Args, recognizer: Recognizer, paths: list[Path]) -> int:
    """How many of the files have no answer."""
    from avcil.cli.predict_output import ClipWriter

    failed = explained = 0
    with ClipWriter(args.written, args.out, top=args.top) as writer:
        for (path, answer), number in zip(recognizer.answers(paths), range(len(paths)), strict=True):
            writer.add(path, answer)
            if isinstance(answer, AvcilError):
                failed += 1
            elif args.explain is not None:
                explanation = _explain(recognizer, path, args.explain / f"{number:04d}-{path.stem}")
                if explanation is None:
                    failed += 1
                else:
                    writer.add_explanation(explanation)
                    explained += 1
        if args.explain is not None and writer.shows_text:
            files = "file" if explained == 1 else "files"
            print(f"explanations of {explained} {files} are in {args.explain}", file=writer.screen)
    return failed


def _paths(args: Args) -> tuple[list[Path], int]:
    """The files that are meant, and how many words meant none, which are told."""
    from avcil.cli.clip_words import media_files

    paths: list[Path] = []
    failed = 0
    for word in args.clips:
        try:
            paths += media_files([word])
        except InputError as error:
            if args.json:  # where each word has its object
                paths.append(word)
                continue
            print(f"avcil: {error}", file=sys.stderr)
            failed += 1
    return paths, failed


def _explain(recognizer: Recognizer, path: Path, name: Path) -> Explanation | None:
    """Write NAME.json and, where there are frames, NAME.mp4; None if that failed, which is reported."""
    from avcil.cli.predict_output import explanation_json
    from avcil.utils.files import write_json

    try:
        explanation = recognizer.explain(path)
        if explanation.frames is not None and explanation.spatial is not None:
            explanation.write_video(name.with_name(f"{name.name}.mp4"))
        write_json(name.with_name(f"{name.name}.json"), explanation_json(explanation))
    except AvcilError as error:
        print(f"avcil: {error}", file=sys.stderr)
        return None
    return explanation


def _timelines(args: Args, recognizer: Recognizer, paths: list[Path]) -> int:
    from avcil.cli.timeline_output import TimelineWriter
    from avcil.inference.timeline import joined

    window = seconds(args.window or "", "--window")
    hop = seconds(args.hop, "--hop") if args.hop else window / 4
    if args.written == "webvtt" and len(paths) > 1:
        raise InputError(
            f"a WebVTT file is of one video, not of {len(paths)}; take them one by one, or csv or json"
        )
    failed = 0
    with TimelineWriter(args.written, args.out, labels=recognizer.classes_) as writer:
        for path in paths:
            try:
                writer.begin(path)
                for event in joined(recognizer.timeline(path, window=window, hop=hop)):
                    writer.add(path, event)
            except AvcilError as error:
                print(f"avcil: {one_line(str(error))}", file=sys.stderr, flush=True)
                writer.fail(path, str(error))
                failed += 1
            writer.end()
    return failed
