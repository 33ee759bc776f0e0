"""avcil merge: combine saved models into one."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from avcil.cli.new_model import check_out, save_new
from avcil.data.renaming import renaming
from avcil.errors import InputError

if TYPE_CHECKING:
    from avcil.inference import Recognizer


@dataclass(frozen=True, kw_only=True)
class Args:
    """Merge models of the method blade. The result equals one model trained on all their clips. The models must
    have the same encoders, modality and options. No clip is read."""

    models: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Two or more finished run directories, or model folders."""
    out: Path
    """Folder of the merged model. The other models do not change."""
    same_classes: bool = False
    """Treat classes with the same name as one class."""
    rename: tuple[str, ...] = ()
    """OLD=NEW, repeatable: the class OLD of the second and later models becomes the class NEW of the merged model."""

    def __post_init__(self) -> None:
        if len(self.models) < 2:
            raise InputError("give two or more models: avcil merge MODEL MODEL... --out FOLDER")
        renaming(self.rename, where="--rename")


def run(args: Args) -> None:
    """Merge, save, and print the size of the new model."""
    from avcil.inference import Recognizer
    from avcil.inference.merging import shared_clips

    check_out(args.out, models=args.models)
    resolved = [model.resolve() for model in args.models]
    if len(set(resolved)) < len(resolved):
        raise InputError("a model is given twice, so its clips would be counted twice. Give each model once")
    first, *others = [Recognizer.load(model) for model in args.models]
    names = renaming(args.rename, where="--rename")
    _check_known(names, others)
    for path, other in zip(args.models[1:], others, strict=True):
        count = shared_clips(first.snapshot(), other.snapshot())
        renamed = {old: new for old, new in names.items() if old in other.classes_}
        try:
            first.merge(other, same_classes=args.same_classes, rename=renamed)
        except InputError as error:
            raise InputError(f"{path} cannot be merged: {error}") from None
        if count:
            print(
                f"note: {path} has learned at least {count} clips that the models before it have learned too; they "
                "count twice. Merge models that learned different clips",
                file=sys.stderr,
            )
    save_new(first, args.out, models=args.models)


def _check_known(names: dict[str, str], others: Iterable[Recognizer]) -> None:
    unknown = sorted(set(names) - {label for other in others for label in other.classes_})
    if unknown:
        raise InputError(
            f"--rename renames classes of the second and later models, which have no class "
            f"{', '.join(map(repr, unknown))}"
        )
