"""avcil rename: rename classes of a saved model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from avcil.cli.new_model import check_out, save_new
from avcil.data.renaming import renaming
from avcil.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Args:
    """Rename classes of a saved model and write a new model. The old model does not change."""

    model: Annotated[Path, tyro.conf.Positional]
    """A finished run directory, or a model folder."""
    names: Annotated[tuple[str, ...], tyro.conf.Positional]
    """OLD=NEW, repeatable. All classes are renamed at the same time, so two classes can exchange their names."""
    out: Path
    """Folder of the new model."""

    def __post_init__(self) -> None:
        if not self.names:
            raise InputError("give a class and its new name: avcil rename MODEL OLD=NEW --out FOLDER")
        renaming(self.names, where="avcil rename")


def run(args: Args) -> None:
    """Rename, save, and print the changes."""
    from avcil.inference import Recognizer

    check_out(args.out, models=[args.model])
    recognizer = Recognizer.load(args.model)
    names = renaming(args.names, where="avcil rename")
    recognizer.rename_classes(names)
    for old, new in names.items():
        print(f"renamed {old!r} to {new!r}")
    save_new(recognizer, args.out, models=[args.model])
