"""Summary of a feature store as text and JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avcil.data.clips import SPLITS
from avcil.features.failures import Failure, read_failures, reason_lines
from avcil.features.feature_spec import FeatureSpec
from avcil.features.index_lines import StoredClip
from avcil.features.manifest import Manifest, modality_of
from avcil.features.store import FeatureStore
from avcil.utils.text_table import text_table


@dataclass(frozen=True, kw_only=True)
class StoreSummary:
    """Summary of a store."""

    path: Path
    manifest: Manifest
    fingerprint: str
    clips: tuple[StoredClip, ...]
    failures: tuple[Failure, ...]
    shards: int
    bytes: int
    """Total size of the shards."""
    unlisted: int
    """Hidden clips that the last clip list does not contain."""

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Number of clips by class and split."""
        counted = Counter((clip.label, clip.split) for clip in self.clips)
        splits = [*SPLITS, *sorted({clip.split for clip in self.clips} - set(SPLITS))]
        labels = sorted({clip.label for clip in self.clips})
        return {label: {split: counted[label, split] for split in splits} for label in labels}

    @property
    def missing_modalities(self) -> dict[str, int]:
        """Number of clips that lack a modality, by modality."""
        names = dict.fromkeys(map(modality_of, self.manifest.arrays()))
        return {name: sum(not getattr(clip, name) for clip in self.clips) for name in names}

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON."""
        return {
            "path": str(self.path),
            "fingerprint": self.fingerprint,
            "clips": len(self.clips),
            "shards": self.shards,
            "bytes": self.bytes,
            "classes": self.counts,
            "missing_modalities": self.missing_modalities,
            "unlisted": self.unlisted,
            "remarks": dict(Counter(clip.remark for clip in self.clips if clip.remark)),
            "failures": dict(Counter(failure.reason for failure in self.failures)),
            "manifest": self.manifest.to_dict(),
        }

    def text(self) -> str:
        """The summary as text."""
        parts = [self._header(), *self._encoders(), "", self._table(), *self._remarks()]
        return "\n".join(parts)

    def _header(self) -> str:
        labels = len({clip.label for clip in self.clips})
        size = f"{self.bytes / 2**20:.1f} MiB in {self.shards} shard{'s' * (self.shards != 1)}"
        return (
            f"{self.path}: {len(self.clips)} clips of {labels} classes, {size}, {self.manifest.dtype}\n"
            f"fingerprint {self.fingerprint}"
        )

    def _encoders(self) -> list[str]:
        lines = []
        for name in self.manifest.arrays():
            modality = getattr(self.manifest, name)
            shape = " x ".join(map(str, modality.shape))
            encoder = modality.encoder.get("name", "an unnamed encoder")
            lines.append(f"{name.replace('_', ' '):<7} {shape}, encoder {encoder}")
            lines += [f"          {line}" for line in _encoder_lines(modality)]
        read = ", ".join(f"{key} {_short_text(value)}" for key, value in self.manifest.sampling.items())
        libraries = ", ".join(f"{key} {value}" for key, value in self.manifest.libraries.items())
        lines.append(f"sampling  {read or 'unknown'}; clips that lack a modality: {self.manifest.missing}")
        if libraries:
            lines.append(f"made with {libraries}")
        return lines

    def _table(self) -> str:
        counts = self.counts
        splits = list(next(iter(counts.values())))
        rows = [[label, *(row[split] for split in splits)] for label, row in counts.items()]
        total = ["total", *(sum(row[split] for row in counts.values()) for split in splits)]
        return text_table([*rows, total], ["class", *splits])

    def _remarks(self) -> list[str]:
        lines = [
            f"clips without {name} features: {count}"
            for name, count in self.missing_modalities.items()
            if count
        ]
        if self.unlisted:
            lines.append(
                f"stored, but not in use, since the last clip list does not contain them: {self.unlisted}"
            )
        remarks = [(clip.clip_id, clip.remark) for clip in self.clips if clip.remark]
        if remarks:
            lines.append(f"stored, with a problem of the file: {len(remarks)}")
            lines += reason_lines(remarks)
        if self.failures:
            lines.append(
                f"could not be stored: {len(self.failures)}; {self.path / 'failures.csv'} lists them"
            )
            lines += reason_lines([(failure.clip_id, failure.reason) for failure in self.failures])
        return ["", *lines] if lines else []


def summarize(path: Path | str) -> StoreSummary:
    """Summarize a store without reading its arrays.

    Raises:
        InputError: The store does not exist, is damaged or empty.
    """
    store = FeatureStore(path)
    return StoreSummary(
        path=store.path,
        manifest=store.manifest,
        fingerprint=store.fingerprint,
        clips=tuple(store.clips),
        failures=tuple(failure for _, failure in sorted(read_failures(store.path).items())),
        shards=len(store.shard_bytes),
        bytes=sum(store.shard_bytes.values()),
        unlisted=len(store.unlisted),
    )


def _encoder_lines(spec: FeatureSpec) -> list[str]:
    """A line for each value of the encoder's fingerprint; a combined encoder has a line for each of its encoders."""
    shown = {key: _short_text(value) for key, value in spec.encoder.items() if key != "name"}
    if len(spec.parts) > 1:
        encoders = spec.encoder.get("parts", [{}] * len(spec.parts))
        shown = {
            f"features {part.start} to {part.stop - 1}": _short_text(
                {"name": part.name} | encoder
            ).removeprefix("name ")
            for part, encoder in zip(spec.parts, encoders, strict=True)
        }
    return [f"{key}: {value}" for key, value in shown.items() if value]


def _short_text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(
            f"{key} {_short_text(inner)}" for key, inner in value.items() if inner not in ({}, None)
        )
    if isinstance(value, list | tuple) and all(isinstance(inner, Mapping) for inner in value):
        return "; ".join(f"({_short_text(inner)})" for inner in value)
    if isinstance(value, list | tuple):
        return " x ".join(map(_short_text, value))
    return str(value)
