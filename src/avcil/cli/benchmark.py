"""`avcil benchmark`: the published benchmarks: their clips, split files and additional labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg, subcommand

Name = Literal["ave-ci", "ks-ci", "vs100-ci", "vs100-ci-leak-free"]
Copy = Annotated[Path | None, arg(name="from", metavar="DIR")]


@dataclass(frozen=True, kw_only=True)
class List:
    """List the published benchmarks, or the clip ids of the named one. With --missing, print the URLs of the clips
    without a usable file, as `yt-dlp --batch-file` reads them."""

    name: Positional[Name | None] = None
    """The benchmark whose clips are listed; without it, all benchmarks."""
    missing: Path | None = None
    """The folder with the downloaded videos, or the clip list of `avcil scan --benchmark`: list what it lacks."""
    times: Path | None = None
    """Annotations with the times of the clips: the CSV of Kinetics, or of AudioSet's segments for ave-ci. The ids of
    VGGSound contain the times."""
    script: bool = False
    """Print a shell script that downloads only the seconds of each clip."""
    copy: Copy = None
    """A copy of the released split files. Default: the cache of `avcil benchmark fetch`."""

    def run(self) -> None:
        """Print them."""
        from avcil.datasets.card import overview
        from avcil.errors import InputError

        if self.name is not None:
            print("\n".join(self._lines(self.name)))
        elif self.missing or self.times or self.script or self.copy:
            raise InputError(
                "--missing, --times, --script and --from need the name of a benchmark: avcil benchmark list NAME"
            )
        else:
            print(overview())

    def _lines(self, name: str) -> Iterator[str]:
        from avcil.datasets.clip_times import clip_times
        from avcil.datasets.download_list import download_script, missing_clips, url_list
        from avcil.datasets.published import load_published

        benchmark = load_published(name, copy=self.copy)
        times = clip_times(benchmark.clips, self.times)
        clips = list(benchmark.clips)
        if self.missing is not None:
            clips = missing_clips(benchmark, self.missing, self.times)
        if self.script:
            yield from download_script(clips, times)
        elif self.missing is None:
            yield from clips
        else:
            yield f"# {len(clips)} of {len(benchmark.clips)} clips of {name} have no usable file in {self.missing}"
            yield from url_list(clips, times)


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
class Vggsounder:
    """Evaluate runs of VS100-CI with the labels of VGGSounder, which lists all classes that can be heard or seen in a
    clip. The annotations (2 MB, Apache-2.0) are downloaded when they are first needed."""

    runs: Positional[tuple[Path, ...]]
    """Run directories of `avcil train --benchmark vs100-ci`. Runs that differ only in the seed are averaged."""
    annotations: Path | None = None
    """The file vggsounder.csv of VGGSounder, of any version. Default: that of version 1.0, downloaded."""
    json: bool = False
    """Print the counts of each run after each step as JSON."""

    def run(self) -> None:
        """Print the table."""
        import json

        from avcil.datasets.vggsounder import fetch_annotations, read_annotations
        from avcil.reporting.vggsounder_table import vggsounder_table, vggsounder_values
        from avcil.runs.run_files import read_runs

        runs = read_runs(self.runs)
        annotations = read_annotations(fetch_annotations() if self.annotations is None else self.annotations)
        if self.json:
            print(json.dumps(vggsounder_values(runs, annotations), indent=1))
        else:
            print(vggsounder_table(runs, annotations))


@dataclass(frozen=True, kw_only=True)
class Args:
    """The published benchmarks of audio-visual class-incremental learning."""

    action: Annotated[
        Annotated[List, subcommand("list")]
        | Annotated[Show, subcommand("show")]
        | Annotated[Fetch, subcommand("fetch")]
        | Annotated[Vggsounder, subcommand("vggsounder")],
        arg(name=""),  # the options of an action are not a group with a title
    ]


def run(args: Args) -> None:
    """Run the selected action."""
    args.action.run()
