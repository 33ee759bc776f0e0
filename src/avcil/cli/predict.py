"""avcil predict: what a recogniser sees and hears in files."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from avcil.clips import one_line
from avcil.errors import AvcilError, InputError

if TYPE_CHECKING:
    from avcil.serving import Answer, Recognizer


@dataclass(frozen=True, kw_only=True)
class Args:
    """Say which class each clip shows. Exits with 2 if a file could not be read; the others are answered."""

    run: Annotated[Path, tyro.conf.Positional]
    """A finished run directory, or its model folder."""
    clips: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Media files."""
    top: int = 3
    """How many classes to show for a clip."""
    method_file: Path | None = None
    """The Python file of a method of your own that made the model; needed for methods in closed form alone."""
    json: bool = False
    """Print a JSON list, an object a file: path, label, probability, predictions, notes; or path and error."""

    def __post_init__(self) -> None:
        if self.top < 1:
            raise InputError(f"--top must be 1 or more; not {self.top}")
        if not self.clips:
            raise InputError("name at least one clip: avcil predict RUN CLIP...")


def run(args: Args) -> int:
    """Print an answer a file as it comes; 2 if a file had none."""
    from avcil.serving import Recognizer

    if args.method_file is not None:
        from avcil.methods.registry import load_method

        load_method(str(args.method_file))
    recognizer = Recognizer.load(args.run)
    failed = 0
    if args.json:
        print("[", end="")
    for number, (path, answer) in enumerate(_answers(recognizer, args.clips)):
        failed += isinstance(answer, AvcilError)
        if args.json:
            print(
                ",\n " if number else "\n ",
                json.dumps(_as_json(path, answer, args.top)),
                sep="",
                end="",
                flush=True,
            )
        else:
            _print(path, answer, args.top)
    if args.json:
        print("\n]")
    if failed:
        print(f"avcil: {failed} of {len(args.clips)} files could not be answered", file=sys.stderr)
    return 2 if failed else 0


def _answers(recognizer: Recognizer, paths: tuple[Path, ...]) -> Iterator[tuple[Path, Answer | AvcilError]]:
    for path in paths:
        try:
            yield path, recognizer.answer(path)
        except AvcilError as error:
            yield path, error


def _as_json(path: Path, answer: Answer | AvcilError, top: int) -> dict[str, Any]:
    if isinstance(answer, AvcilError):
        return {"path": str(path), "error": str(answer)}
    ranked = list(answer.probabilities.items())[:top]
    return {
        "path": str(path),
        "label": answer.label,
        "probability": answer.probability,
        "predictions": [{"label": label, "probability": probability} for label, probability in ranked],
        "notes": answer.notes,
    }


def _print(path: Path, answer: Answer | AvcilError, top: int) -> None:
    if isinstance(answer, AvcilError):
        print(f"avcil: {answer}", file=sys.stderr, flush=True)
        return
    ranked = list(answer.probabilities.items())[:top]
    print(one_line(str(path)))
    ranked = [(one_line(label), probability) for label, probability in ranked]
    width = max(len(label) for label, _ in ranked)
    for label, probability in ranked:
        print(f"  {label:<{width}}  {100 * probability:5.1f} %  {'█' * round(30 * probability)}")
    if answer.notes:
        print(f"  note: {answer.notes}")
    sys.stdout.flush()
