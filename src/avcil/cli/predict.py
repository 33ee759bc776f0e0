"""avcil predict: predict the classes of clips, or timelines of long videos."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from avcil.cli.rejection_options import RejectionOptions
from avcil.data.clips import one_line
from avcil.errors import AvcilError, InputError

if TYPE_CHECKING:
    from avcil.inference import Recognizer
    from avcil.inference.explanation import Explanation

Format = Literal["text", "json", "csv", "webvtt"]
_SUFFIXES: dict[str, Format] = {".json": "json", ".csv": "csv", ".vtt": "webvtt", ".txt": "text"}


@dataclass(frozen=True, kw_only=True)
class Args(RejectionOptions):
    """Predict the class of each clip, or a timeline of events for long videos. The exit code is 2 if a file could
    not be predicted; the other files are predicted."""

    model: Annotated[Path, tyro.conf.Positional]
    """A finished run directory, or a model folder."""
    clips: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Media files, folders, or glob patterns in quotes."""
    top: int = 3
    """Number of classes shown per clip."""
    method_file: Path | None = None
    """The Python file of your own method. Needed only for closed-form models of a method that is not part of
    avcil."""
    json: bool = False
    """Print a JSON list with one object per file: path, label, probability, predictions, in_distribution, p_value,
    threshold, background, modality, notes; or path and error."""
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
        super().__post_init__()
        if self.top < 1:
            raise InputError(f"--top must be 1 or more; not {self.top}")
        if not self.clips:
            raise InputError("give at least one clip: avcil predict MODEL CLIP...")
        if self.json and self.format not in (None, "json"):
            raise InputError(f"--json and --format {self.format} contradict each other; give one of them")
        if self.hop and not self.window:
            raise InputError("--hop needs --window: avcil predict MODEL VIDEO --window 2s --hop 0.5s")
        if self.window and self.explain:
            raise InputError("--explain is for clips and --window for timelines; give one of them")
        if self.out and not self.format and self.out.suffix.lower() not in _SUFFIXES:
            raise InputError(f"--out {self.out}: the suffix must be {', '.join(_SUFFIXES)}, or give --format")
        if self.output_format == "webvtt" and not self.window:
            raise InputError("the format webvtt is for timelines: give --window, such as --window 2s")
        for name in ("window", "hop"):
            if getattr(self, name) is not None:
                _parse_seconds(getattr(self, name), f"--{name}")

    @property
    def output_format(self) -> Format:
        """The format of --out, or of what is printed without it."""
        given: Format | None = "json" if self.json else self.format
        return given or (_SUFFIXES[self.out.suffix.lower()] if self.out else "text")


def _parse_seconds(text: str, name: str) -> float:
    """Parse a duration.

    >>> _parse_seconds("0.5s", "--hop"), _parse_seconds("2", "--window"), _parse_seconds("250ms", "--hop")
    (0.5, 2.0, 0.25)
    """
    number, factor = (text[:-2], 1e-3) if text.endswith("ms") else (text.removesuffix("s"), 1.0)
    try:
        value = factor * float(number)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise InputError(f"{name} must be a duration above 0, such as 2s or 250ms; not {text!r}")
    return value


def run(args: Args) -> int:
    """Print each prediction as soon as it is computed. Returns 2 if a file could not be predicted."""
    from avcil.inference import Recognizer

    if args.method_file is not None:
        from avcil.methods.registry import load_method

        load_method(str(args.method_file))
    recognizer = Recognizer.load(args.model)
    recognizer.set_rejection(args.rejection())
    paths, failed = _paths(args)
    predict = _predict_timelines if args.window else _predict_clips
    try:
        failed += predict(args, recognizer, paths)
    except KeyboardInterrupt:
        finished = f"; finished predictions are in {args.out}" if args.out else ""
        print(f"avcil: stopped{finished}", file=sys.stderr)
        return 130
    if failed:
        print(f"avcil: {failed} of {max(len(paths), failed)} files could not be predicted", file=sys.stderr)
    return 2 if failed else 0


def _predict_clips(args: Args, recognizer: Recognizer, paths: list[Path]) -> int:
    """Returns the number of files that could not be predicted."""
    from avcil.cli.predict_output import ClipWriter

    failed = explained = 0
    with ClipWriter(args.output_format, args.out, top=args.top) as writer:
        for (path, prediction), number in zip(
            recognizer.predict_stream(paths), range(len(paths)), strict=True
        ):
            writer.add(path, prediction)
            if isinstance(prediction, AvcilError):
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
    """The files to predict, and the number of arguments without any, for which an error is printed."""
    from avcil.cli.clip_paths import media_files

    paths: list[Path] = []
    failed = 0
    for path in args.clips:
        try:
            paths += media_files([path])
        except InputError as error:
            if args.json:  # the error is in the JSON list
                paths.append(path)
                continue
            print(f"avcil: {error}", file=sys.stderr)
            failed += 1
    return paths, failed


def _explain(recognizer: Recognizer, path: Path, name: Path) -> Explanation | None:
    """Write NAME.json and, for a clip with frames, NAME.mp4. Prints an error and returns None if that fails."""
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


def _predict_timelines(args: Args, recognizer: Recognizer, paths: list[Path]) -> int:
    """Returns the number of files that could not be predicted."""
    from avcil.cli.timeline_output import TimelineWriter
    from avcil.inference.timeline import joined

    window = _parse_seconds(args.window or "", "--window")
    hop = _parse_seconds(args.hop, "--hop") if args.hop else window / 4
    if args.output_format == "webvtt" and len(paths) > 1:
        raise InputError(
            f"a WebVTT file is for one video, but there are {len(paths)}. Run the command for each, or use csv or json"
        )
    failed = 0
    with TimelineWriter(args.output_format, args.out, labels=recognizer.classes_) as writer:
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
