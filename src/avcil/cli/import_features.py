"""`avcil import-features`: import the authors' released features into a feature store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional


@dataclass(frozen=True, kw_only=True)
class Args:
    """Import the features that the authors of AV-CIL released. The same command resumes an interrupted import."""

    source: Positional[Path | None] = None
    """The released archive of features, one of its parts, a folder with them, or the unpacked folder. Not with
    --download."""
    benchmark: Literal["ave-ci", "ks-ci", "vs100-ci", "vs100-ci-leak-free"]
    """The benchmark of the features. It defines the class and split of every clip."""
    out: Path
    """The folder of the feature store. An existing store is resumed."""
    grid: str = "8x14x14"
    """Visual tokens per clip, TxHxW: as released, or averaged to a grid that divides it, such as 8x7x7 or 8x1x1."""
    dtype: Literal["float16", "float32"] = "float16"
    """Data type of stored features. float16 takes half the disk space."""
    shard_size: int = 64
    """Number of clips in one file of the store. This many are held in memory."""
    check_archive: bool = True
    """Verify the checksums of the archive first. This reads it one more time."""
    splits: Path | None = None
    """A copy of the released split files. Default: the cache of `avcil benchmark fetch`."""
    download: bool = False
    """Download split files and features first: 19.7 GB for ave-ci, 111 GB for ks-ci, 295 GB for vs100-ci."""
    download_to: Path | None = None
    """Folder of downloaded archives. Default: the cache."""
    base_url: str | None = None
    """URL of a folder that mirrors the archives. Default: Hugging Face."""


def run(args: Args) -> None:
    """Import, and print the report."""
    from avcil.datasets.fetch import fetch_splits
    from avcil.datasets.protocols import protocol
    from avcil.datasets.published import load_published
    from avcil.datasets.released.download import download_features
    from avcil.datasets.released.import_features import import_features
    from avcil.datasets.released.token_grid import parse_grid
    from avcil.errors import InputError

    if args.download == (args.source is not None):
        raise InputError("give either the SOURCE of the features or --download")
    if not args.download and (args.download_to or args.base_url):
        raise InputError("--download-to and --base-url need --download")
    grid = parse_grid(args.grid)
    if args.download and args.splits is None:
        fetch_splits(protocol(args.benchmark))
    benchmark = load_published(args.benchmark, copy=args.splits)
    source = args.source
    if source is None:
        source = download_features(benchmark.protocol, args.download_to, base_url=args.base_url)
    report = import_features(
        source,
        args.out,
        benchmark,
        grid=grid,
        dtype=args.dtype,
        shard_size=args.shard_size,
        check=args.check_archive,
    )
    print(report.text())
