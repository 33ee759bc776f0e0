"""Write the new model of the commands rename, forget and merge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avcil.errors import InputError

if TYPE_CHECKING:
    from avcil.inference import Recognizer


def save_new(recognizer: Recognizer, out: Path, *, models: Sequence[Path]) -> None:
    """Write the model to `out` atomically and print its size; `models` are the models that it was made from."""
    from avcil.utils.files import folder_lock

    check_out(out, models=models)
    with folder_lock(out, "learning"):
        recognizer.save(out)
    counts = recognizer.counts
    clips = "" if counts is None else f", learned from {sum(counts.values())} clips"
    print(f"The model has {len(recognizer.classes_)} classes{clips}; it is in {out}")


def check_out(out: Path, *, models: Sequence[Path]) -> None:
    """InputError if `out` is a model that the new one is made from."""
    from avcil.runs.run_model import model_folder

    for model in models:
        if out.resolve() in (model.resolve(), model_folder(model).resolve()):
            raise InputError(
                f"--out {out} is the given model {model}, which is not changed. Choose another folder"
            )
