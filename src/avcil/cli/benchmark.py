"""`avcil benchmark`: the published benchmarks - list, show, fetch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitSubcommandPrefixes, Positional, arg, subcommand

Name = Literal["ave-ci", "ks-ci", "vs100-ci", "vs100-ci-leak-free"]
Copy = Annotated[Path | None, arg(name="from", metavar="DIR")]


@dataclass(frozen=True, kw_only=True)
class List:
    """List the published benchmarks, one per line."""

    def run(self) -> None:
        """Print them."""
        from avcil.datasets.card import overview

        print(overview())


@dataclass(frozen=True, kw_only=True)
class Show:
    """Show one benchmark: classes, steps, clips of each class and split, exemplars, epochs, overlap of training
    and test videos."""

    name: Positional[Name]
    """The benchmark."""
    copy: Copy = None
    """A copy of the released split files. Default: the cache of `avcil benchmark fetch`."""
    classes_per_step: int | None = None
    """Use another number of classes per step than published."""
    class_order_seed: int | None = None
    """Shuffle the classes with this seed. Default: the order of the released class numbers."""

    def run(self) -> None:
        """Print its card."""
        from avcil.datasets.card import card
        from avcil.datasets.published import load_published

        print(card(load_published(self.name, copy=self.copy), self.classes_per_step, self.class_order_seed))


@dataclass(frozen=True, kw_only=True)
class Fetch:
    """Download a benchmark's split files from the authors' release (a few MB) and check their SHA-256."""

    name: Positional[Name]
    """The benchmark."""
    copy: Copy = None
    """Use a copy of the release instead of downloading: its data folder, or the folder with the files."""

    def run(self) -> None:
        """Fetch, and say where they are."""
        from avcil.datasets.fetch import fetch_splits
        from avcil.datasets.protocols import protocol

        folder = fetch_splits(protocol(self.name), copy=self.copy)
        print(
            f"the split files of {self.name} are in {folder}. Look at them: avcil benchmark show {self.name}"
        )


@dataclass(frozen=True, kw_only=True)
class Args:
    """List, show or fetch the published benchmarks of audio-visual class-incremental learning."""

    action: OmitSubcommandPrefixes[
        Annotated[List, subcommand("list")]
        | Annotated[Show, subcommand("show")]
        | Annotated[Fetch, subcommand("fetch")]
    ]


def run(args: Args) -> None:
    """Do what was asked for."""
    args.action.run()
