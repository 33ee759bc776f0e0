"""Importing the authors' released features into a feature store, clip by clip, with memory independent of their size.

The audio features of all clips (768 numbers each) are read first. Then the visual tokens are streamed, and each clip is
checked, pooled if requested, joined with its audio features and stored in the order of the visual file.

Shapes: T time slices, S spatial tokens per slice, D width; released are T = 8, S = 14 x 14, D = 768.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from avcil.data.clips import Clip
from avcil.datasets.published import PublishedBenchmark
from avcil.datasets.released.arrays import check_archive, read_arrays, remove_unpacked
from avcil.datasets.released.feature_files import ReleasedFiles, find_released
from avcil.datasets.released.token_grid import RELEASED, WIDTH, Grid, pool_tokens
from avcil.errors import AvcilError, InputError
from avcil.features.feature_spec import FeatureSpec
from avcil.features.manifest import IMPORTED, Manifest
from avcil.features.writer import FeatureWriter
from avcil.utils.files import read_json, write_json
from avcil.utils.progress import Progress
from avcil.utils.version import __version__

_TOKENS = RELEASED[0] * RELEASED[1] * RELEASED[2]
_CHECKED = ".archive-checked.json"
_REPORT = "import.json"

_NO_AUDIO = "not among the released audio features"
_NO_VISUAL = "not among the released visual features"
_NEITHER = "neither among the released audio nor among the visual features"
_NOT_FINITE = "its released features contain NaN or infinity"


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """Result of an import, also written to `import.json` of the store."""

    benchmark: str
    audio_file: str
    visual_file: str
    grid: str
    stored: int
    """Clips of the benchmark in the store, including those of earlier runs."""
    earlier: int
    """Clips that were stored before this run."""
    failures: Mapping[str, int]
    """Clips of the benchmark that are not in the store, by reason; failures.csv lists them."""
    extra_audio: tuple[str, ...]
    """Clips with released audio that are not in the benchmark and were not imported."""
    extra_visual: tuple[str, ...]

    def text(self) -> str:
        """The result as text."""
        lines = [
            f"{self.benchmark}: {self.stored} clips in the store ({self.earlier} of them from earlier runs)"
        ]
        lines += [f"  {count} missing: {reason}" for reason, count in self.failures.items()]
        lines += ["  failures.csv lists the missing clips"] if self.failures else []
        for kind, ids in (("audio", self.extra_audio), ("visual", self.extra_visual)):
            if ids:
                lines.append(
                    f"  {len(ids)} clips with {kind} features are not in the benchmark: {_REPORT} lists them"
                )
        return "\n".join(lines)


@dataclass(kw_only=True)
class _Import:
    """The state of an import."""

    files: ReleasedFiles
    benchmark: PublishedBenchmark
    out: Path
    grid: Grid
    writer: FeatureWriter
    audio: dict[str, np.ndarray] = field(default_factory=dict)
    extra_audio: list[str] = field(default_factory=list)
    extra_visual: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.earlier = self._stored()

    def _stored(self) -> int:
        """Number of stored clips of the benchmark."""
        return len(self.writer.done & self.benchmark.clips.keys())

    def read_audio(self) -> None:
        """The audio features of the clips of the benchmark."""
        known = self.benchmark.clips
        for clip_id, values in read_arrays(self.files.audio, (WIDTH,), known.__contains__, self.out):
            if values is None:
                self.extra_audio.append(clip_id)
            elif np.isfinite(values).all():
                self.audio[clip_id] = values.astype(np.float32)
            else:
                self.failed[clip_id] = _NOT_FINITE
        if not self.audio:
            raise InputError(
                f"{self.files.audio.name} has none of the {len(known)} clips of {self.benchmark.name}. Give the "
                "features of this benchmark"
            )

    def add_visual(self) -> None:
        """Store each clip when its tokens are read."""
        known, done = self.benchmark.clips, self.writer.done
        remaining = {clip_id for clip_id in self.audio if clip_id not in done}
        seen: set[str] = set()
        arrays = read_arrays(self.files.visual, (_TOKENS, WIDTH), remaining.__contains__, self.out)
        with Progress(len(known), "clips", title="importing", initial=self.earlier) as bar:
            for clip_id, tokens in arrays:
                if clip_id in known:
                    seen.add(clip_id)
                else:
                    self.extra_visual.append(clip_id)
                if tokens is not None:
                    self.add(clip_id, tokens)
                    bar.update()
        for clip_id in known.keys() - done - self.failed.keys():
            if clip_id not in seen or clip_id not in self.audio:
                lacks_both = clip_id not in seen and clip_id not in self.audio
                self.failed[clip_id] = (
                    _NEITHER if lacks_both else _NO_AUDIO if clip_id in seen else _NO_VISUAL
                )

    def add(self, clip_id: str, tokens: np.ndarray) -> None:
        """Store one clip, unless its tokens are unusable."""
        if np.isfinite(tokens).all():
            visual = pool_tokens(tokens, self.grid)
            self.writer.add(self.clip(clip_id), visual=visual, audio=self.audio[clip_id])
        else:
            self.failed[clip_id] = _NOT_FINITE

    def clip(self, clip_id: str) -> Clip:
        """The clip for the store. The release has no media files, so the path is only a name."""
        path, known = Path("released", self.benchmark.protocol.folder, clip_id), self.benchmark.clips[clip_id]
        return Clip(clip_id=clip_id, path=path, label=known.label, split=known.split)

    def list_failures(self) -> None:
        """Record the reason for each clip of the benchmark that is not stored."""
        for clip_id in sorted(self.failed):
            self.writer.fail(self.clip(clip_id), self.failed[clip_id], tried="the released features")

    def report(self) -> ImportReport:
        """The result; InputError if no clip is stored."""
        failures = dict(Counter(self.failed.values()).most_common())
        if not self._stored():
            reasons = "; ".join(f"{count} {reason}" for reason, count in failures.items())
            raise InputError(
                f"no clip of {self.benchmark.name} could be imported from {self.files.visual.name}: {reasons}"
            )
        return ImportReport(
            benchmark=self.benchmark.name,
            audio_file=self.files.audio.name,
            visual_file=self.files.visual.name,
            grid="x".join(map(str, self.grid)),
            stored=self._stored(),
            earlier=self.earlier,
            failures=failures,
            extra_audio=tuple(self.extra_audio),
            extra_visual=tuple(self.extra_visual),
        )


def import_features(
    source: Path,
    out: Path,
    benchmark: PublishedBenchmark,
    *,
    grid: Grid = RELEASED,
    dtype: str = "float16",
    shard_size: int = 64,
    check: bool = True,
) -> ImportReport:
    """Import the released features of `benchmark` into a feature store; an interrupted import is resumed.

    Args:
        source: The unpacked folder, the archive, one of its parts, or a folder with them.
        out: Folder of the feature store. Clips that it already contains are skipped.
        benchmark: The published benchmark.
        grid: (T, H, W) to which the tokens are pooled.
        dtype: Dtype of the stored features.
        shard_size: Clips per shard of the store.
        check: Verify the checksums of the archive before anything is stored.

    Raises:
        InputError: Files are missing, damaged, malicious or of another format, or have no clip of the benchmark.
    """
    files, out = find_released(source, benchmark.protocol), Path(out)
    with (
        _unpacked_removed(out),
        FeatureWriter(out, _manifest(benchmark, grid, dtype), shard_size=shard_size) as writer,
    ):
        if check and files.is_archive:
            _check_once(files, out)
        job = _Import(files=files, benchmark=benchmark, out=out, grid=grid, writer=writer)
        job.read_audio()
        job.add_visual()
        job.list_failures()
        writer.commit()
    report = job.report()
    write_json(out / _REPORT, asdict(report))
    return report


@contextlib.contextmanager
def _unpacked_removed(out: Path) -> Iterator[None]:
    """Remove unpacked files after the import or an error in the data; after an interruption they are kept."""
    try:
        yield
    except AvcilError as error:
        if not isinstance(error.__cause__, OSError):
            remove_unpacked(out)
        raise
    remove_unpacked(out)


def _manifest(benchmark: PublishedBenchmark, grid: Grid, dtype: str) -> Manifest:
    def encoder(weights: str, **options: Any) -> dict[str, Any]:
        name = f"{IMPORTED}{benchmark.protocol.folder}"
        return {"name": name, "version": 1, "options": options, "weights": weights}

    visual = encoder(
        "VideoMAE-base, self-supervised on Kinetics-400", grid=list(grid), released_grid=list(RELEASED)
    )
    audio = encoder("AudioMAE ViT-B, pre-trained on AudioSet-2M; the recipe of the sound is not known")
    return Manifest(
        visual=FeatureSpec(shape=(grid[0], grid[1] * grid[2], WIDTH), encoder=visual),
        audio=FeatureSpec(shape=(WIDTH,), encoder=audio),
        dtype=dtype,
        sampling={"frames": 16, "short_side": 224},
        libraries={"avcil": __version__, "numpy": np.__version__},
    )


def _check_once(files: ReleasedFiles, out: Path) -> None:
    """Verify the checksums of the archive, unless an earlier run of this import has verified the same parts."""
    state = {
        str(path.absolute()): [path.stat().st_size, path.stat().st_mtime_ns] for path in files.visual.paths
    }
    with contextlib.suppress(InputError):
        if read_json(out / _CHECKED) == state:
            return
    check_archive(files.audio)
    if not (files.visual.is_h5 and not files.visual.is_stored):  # else unpacking verifies it
        check_archive(files.visual)
    write_json(out / _CHECKED, state)
