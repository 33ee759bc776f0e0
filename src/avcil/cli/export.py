"""avcil export: export a model to ONNX."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from avcil.data.modality import Modality

if TYPE_CHECKING:
    from avcil.export import OnnxExport


@dataclass(frozen=True, kw_only=True)
class Args:
    """Export a model to ONNX. Inputs are a clip's features, outputs are class probabilities. The file is compared
    with the model in ONNX Runtime before it is written. Needs the extra [export]."""

    model: Annotated[Path, tyro.conf.Positional]
    """A finished run directory, or a model folder."""
    out: Path
    """The file to write, ending in .onnx, or a folder for model.onnx."""
    modality: Annotated[Modality | None, tyro.conf.EnumChoicesFromValues] = None
    """Export the model for clips with only this modality, if it can predict from it alone. Default: the modality
    that the model was trained with."""
    method_file: Path | None = None
    """The Python file of your own method. Needed only for closed-form models of a method that is not part of
    avcil."""


def run(args: Args) -> None:
    """Export, and print the inputs, outputs and the comparison with the model."""
    from avcil.inference import Recognizer
    from avcil.runs.run_store import store_of_run

    if args.method_file is not None:
        from avcil.methods.registry import load_method

        load_method(str(args.method_file))
    recognizer = Recognizer.load(args.model)
    store, reason = store_of_run(args.model)
    done = recognizer.export_onnx(args.out, modality=args.modality, store=store)
    _print(done, len(recognizer.classes_))
    has_both = {"audio", "visual"} <= done.inputs.keys()
    if has_both and getattr(recognizer.model, "can_leave_out_modalities", False):
        print(
            "note: avcil predict leaves out audio or frames that are unlike all training clips; this file does not"
        )
    if reason:
        print(f"note: not compared on clips of the feature store: {reason}")


def _print(done: OnnxExport, classes: int) -> None:
    from avcil.export.check import SCORE_TOLERANCE, TOLERANCE
    from avcil.utils.byte_sizes import format_bytes

    print(f"{done.path}: {format_bytes(done.bytes)}, ONNX opset {done.opset}, {classes} classes")
    for kind, values in (("in ", done.inputs), ("out", done.outputs)):
        shown = ", ".join(f"{name} ({', '.join(map(str, shape))})" for name, shape in values.items())
        print(f"  {kind}  {shown}, float32")
    print(
        f"compared with ONNX Runtime (tolerance: probabilities {TOLERANCE:.0e}, scores {SCORE_TOLERANCE:.0e}):"
    )
    for comparison in done.comparisons:
        print(f"  {comparison}")
