"""What the commands that make a new model of saved ones share: writing the new model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avcil.errors import InputError

if TYPE_CHECKING:
    from avcil.inference import Recognizer


def save_new(recognizer: Recognizer, out: Path, *, models: Sequence[Path]) -> None:
    """Write the model to `out`, whole or not at all, and print what it knows; `models` are what it was made from."""
    from avcil.utils.files import folder_lock

    check_out(out, models=models)
    with folder_lock(out, "learning"):
        recognizer.save(out)
    counts = recognizer.counts
    clips = "" if counts is None else f", taught with {sum(counts.values())} clips"
    print(f"The model knows {len(recognizer.classes_)} classes{clips}; it is in {out}")


def check_out(out: Path, *, models: Sequence[Path]) -> None:
    """Refuse to replace a model that the new one is made from."""
    from avcil.runs.run_model import model_folder

    for model in models:
        if out.resolve() in (model.resolve(), model_folder(model).resolve()):
            raise InputError(
                f"--out {out} is the model {model} itself. Choose another folder: the old model stays, to go back to"
            )
