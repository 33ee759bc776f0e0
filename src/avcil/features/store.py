"""Reading a feature store: a list of clips, and their arrays by row.

Rows are sorted by clip id, so the order does not depend on how the extraction was interrupted or distributed.

Shapes: n requested rows, T time slices, S spatial tokens per slice, D width.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from avcil.data.presence import Presence
from avcil.encoders.constants import Constants
from avcil.encoders.parts import EncoderPart
from avcil.errors import InputError
from avcil.features.index import read_index
from avcil.features.index_lines import ShardEntry, StoredClip
from avcil.features.manifest import Manifest
from avcil.features.shard_reader import RERUN, ShardReader
from avcil.features.store_folder import shard_damage
from avcil.features.unlisted import read_unlisted
from avcil.utils.listing import quoted


class FeatureStore:
    """The features of a set of clips, read from disk when they are needed.

    It is a snapshot of the committed shards at the time of opening. It can be pickled, and read by many processes and
    threads.

    Args:
        path: Folder of the store.

    Raises:
        InputError: The store does not exist, has another version, is damaged, or has no clips.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.manifest = Manifest.read(self.path)
        entries = list(read_index(self.path)[0].values())
        if not entries:
            raise InputError(
                f"the feature store {self.path} has no clips yet: nothing was committed. {RERUN}"
            )
        self._check_files(entries)
        self.shard_bytes = {entry.shard: entry.bytes for entry in entries}
        """Size of each shard by file name."""
        self.unlisted = read_unlisted(self.path)
        """Ids of hidden clips, which the last clip list does not contain."""
        self._order(entries)
        files = [(self.path / "shards" / entry.shard, len(entry.clips)) for entry in entries]
        self._reader = ShardReader(files, self.manifest.arrays(), np.dtype(self.manifest.dtype))

    def _check_files(self, entries: Sequence[ShardEntry]) -> None:
        damage = [(entry.shard, shard_damage(self.path, entry.shard, entry.bytes)) for entry in entries]
        damaged = [f"{shard} ({what})" for shard, what in damage if what]
        if damaged:
            more = f" and {len(damaged) - 3} more" if len(damaged) > 3 else ""
            raise InputError(
                f"the feature store {self.path} is damaged: {', '.join(damaged[:3])}{more}. {RERUN}"
            )

    def _order(self, entries: Sequence[ShardEntry]) -> None:
        rows = [
            (clip, digest, shard, row)
            for shard, entry in enumerate(entries)
            for row, clip, digest in entry.rows()
            if clip.clip_id not in self.unlisted
        ]
        if not rows:
            raise InputError(
                f"the feature store {self.path} has no clips of the last clip list. Run avcil extract with the list "
                "that you want to use"
            )
        rows.sort(key=lambda item: item[0].clip_id)
        twice = [key for key, count in Counter(clip.clip_id for clip, *_ in rows).items() if count > 1]
        if twice:
            raise InputError(
                f"the feature store {self.path} has {len(twice)} clip(s) twice: {quoted(twice)}. Its index was changed "
                "by another program; extract into a new folder"
            )
        self.clips: list[StoredClip] = [clip for clip, *_ in rows]
        self._digests = [digest for _, digest, *_ in rows]
        self._shard_of = np.array([shard for *_, shard, _ in rows], dtype=np.int64)
        self._row_in_shard = np.array([row for *_, row in rows], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, sorted."""
        return tuple(sorted({clip.label for clip in self.clips}))

    @property
    def visual_shape(self) -> tuple[int, int, int] | None:
        """(T, S, D) of the visual tokens of a clip; None if the store has none."""
        return self.manifest.arrays().get("visual")  # type: ignore[return-value]

    @property
    def audio_width(self) -> int | None:
        """D of the audio vector of a clip; None if the store has none."""
        shape = self.manifest.arrays().get("audio")
        return None if shape is None else shape[0]

    def parts(self, modality: str) -> tuple[EncoderPart, ...]:
        """The encoders of the features of "audio" or "visual"; () if the store has none."""
        spec = getattr(self.manifest, modality)
        return () if spec is None else spec.parts

    def constants(self, modality: str) -> Constants | None:
        """Typical center and scale of the features of "audio" or "visual"; None if unknown."""
        spec = getattr(self.manifest, modality)
        return None if spec is None else spec.constants

    def visual(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Visual tokens (n, T, S, D) of `rows`, indices into `clips`, in the stored dtype."""
        return self._read("visual", rows)

    def audio(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Audio vectors (n, D) of `rows`, indices into `clips`, in the stored dtype."""
        return self._read("audio", rows)

    def presence(self, rows: Sequence[int] | np.ndarray) -> Presence:
        """Which of `rows` (n) have audio and visual features."""
        return Presence.of_clips(self.clips[row] for row in np.asarray(rows, dtype=np.int64))

    def audio_tokens(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Audio tokens (n, N, D) of `rows` in the stored dtype, if the store has them."""
        return self._read("audio_tokens", rows)

    def _read(self, name: str, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        if name not in self.manifest.arrays():
            if name == "audio_tokens":
                raise InputError(
                    f"the feature store {self.path} has no audio tokens; extract into a new one with "
                    "--audio-tokens"
                )
            other = next(iter(self.manifest.arrays()))
            raise InputError(
                f"the feature store {self.path} has no {name} features, only {other}; use --modality {other}"
            )
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and not (rows.min() >= 0 and rows.max() < len(self)):
            raise IndexError(f"rows must be between 0 and {len(self) - 1}, got {rows.min()} to {rows.max()}")
        return self._reader.read(name, self._shard_of[rows], self._row_in_shard[rows])

    @cached_property
    def fingerprint(self) -> str:
        """A hash of encoders, sampling, and the label, split and features of every clip.

        It does not depend on the distribution over shards, nor on paths.
        """
        digest = hashlib.sha256(json.dumps(self.manifest.identity(), sort_keys=True).encode())
        for clip, numbers in zip(self.clips, self._digests, strict=True):
            value = [clip.clip_id, clip.label, clip.split, clip.visual, clip.audio, numbers]
            digest.update(json.dumps(value).encode())
        return digest.hexdigest()
