"""Data sets that are named in the arguments of scripts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avcil.data.clips import write_clips
from avcil.data.scan import scan
from avcil.datasets.synthetic.clips import render_demo_clips

DEMO = "demo"


@dataclass(frozen=True)
class DataSet:
    """A folder of clips or a feature store, and the number of new classes of each step; 0: the clips have domains."""

    name: str
    path: Path
    classes_per_step: int

    @classmethod
    def parse(cls, text: str) -> DataSet:
        """Parse NAME=PATH:CLASSES_PER_STEP."""
        name, _, rest = text.partition("=")
        path, _, classes = rest.rpartition(":")
        return cls(name, Path(path), int(classes))


def clip_list(work: Path, name: str, folder: Path) -> Path:
    """The clip list NAME.csv in `work`, written if it does not exist. The folder "demo" means rendered clips."""
    path = work / f"{name}.csv"
    if not path.exists():
        if folder == Path(DEMO):
            folder = work / "demo-clips"
            render_demo_clips(folder)
        write_clips(path, scan(folder).clips)
    return path
