"""avcil export: a recognizer's model as an ONNX file, for programs without avcil."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

if TYPE_CHECKING:
    from avcil.export import OnnxExport


@dataclass(frozen=True, kw_only=True)
class Args:
    """Write a recognizer's model as ONNX: a clip's features in, probabilities of its classes out. It is checked with
    onnxruntime against the model before the file appears. Needs the extra [export]."""

    run: Annotated[Path, tyro.conf.Positional]
    """A finished run directory, or a model's folder."""
    out: Path
    """The file, ending in .onnx; or a folder, for model.onnx in it."""
    modality: Literal["audio-visual", "audio", "visual"] | None = None
    """For clips that have only this of what the model was taught with, where it can answer from that alone; what it
    was taught with unless given."""
    method_file: Path | None = None
    """The Python file of a method of your own that made the model; needed for methods in closed form alone."""


def run(args: Args) -> None:
    """Export, and print what was written and how it was checked."""
    from avcil.inference import Recognizer
    from avcil.runs.run_store import store_of_run

    if args.method_file is not None:
        from avcil.methods.registry import load_method

        load_method(str(args.method_file))
    recognizer = Recognizer.load(args.run)
    store, reason = store_of_run(args.run)
    done = recognizer.export_onnx(args.out, modality=args.modality, store=store)
    _print(done, len(recognizer.classes_))
    if reason:
        print(f"note: not compared on clips of a store: {reason}")


def _print(done: OnnxExport, classes: int) -> None:
    from avcil.export.check import SCORE_TOLERANCE, TOLERANCE
    from avcil.utils.sizes import in_words

    print(f"{done.path}: {in_words(done.bytes)}, ONNX opset {done.opset}, {classes} classes")
    for kind, values in (("in ", done.inputs), ("out", done.outputs)):
        shown = ", ".join(f"{name} ({', '.join(map(str, shape))})" for name, shape in values.items())
        print(f"  {kind}  {shown}, float32")
    print(f"checked with onnxruntime (allowed: probabilities {TOLERANCE:.0e}, scores {SCORE_TOLERANCE:.0e}):")
    for comparison in done.comparisons:
        print(f"  {comparison}")
