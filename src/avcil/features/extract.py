"""Extraction: from a clip list to a feature store.

Clips are read by several threads while the encoders work, and encoded in batches whose members depend on the
clip list alone, so that an extraction that was interrupted gives what an undisturbed one gives.

Shapes: F frames, H x W pixels, N samples, T time slices, S spatial tokens per slice, D width.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from avcil.clips import Clip, check_clips
from avcil.encoders.base import AudioEncoder, VisualEncoder
from avcil.errors import InputError
from avcil.features.failures import Failure
from avcil.features.manifest import NEW_PLACE, Manifest, Modality
from avcil.features.reading import ReadClip, Wanted, read_ahead
from avcil.features.report import ExtractReport, reasons
from avcil.features.store import FeatureStore
from avcil.features.writer import FeatureWriter
from avcil.progress import Progress

LIBRARIES = ("avcil", "av", "numpy", "torch")


def extract(
    clips: Sequence[Clip],
    out: str | Path,
    *,
    visual: str | VisualEncoder = "patch-motion",
    audio: str | AudioEncoder = "log-mel",
    missing: str = "skip",
    dtype: str = "float16",
    retry_failed: bool = False,
    workers: int | None = None,
    batch_size: int = 16,
    shard_size: int = 64,
) -> ExtractReport:
    """Encode `clips` into the feature store `out`; the same call again goes on where it stopped.

    :param visual: the name of a visual encoder, an encoder, or "none".
    :param audio: the name of an audio encoder, an encoder, or "none".
    :param missing: what to do with a clip that lacks its picture or sound: "skip" lists it as failed, "zero"
        stores zeros in its place, "fail" stops.
    :param dtype: "float16" or "float32".
    :param retry_failed: try the clips again that failed in an earlier call.
    :param workers: clips read at once; None is one a processor core.
    :param batch_size: clips encoded together.
    :param shard_size: clips a shard, at least.
    :raises InputError: for unknown names, a store made in another way, and if no clip could be stored.
    """
    started = time.monotonic()
    clips = list(clips)
    check_clips(clips, "the clip list")
    _check_counts(workers=workers, batch_size=batch_size, shard_size=shard_size)
    encoders = _encoders(visual, audio)
    manifest = manifest_of(*encoders, missing=missing, dtype=dtype)
    # The writer would close a shard in the middle of a batch; `_store` closes it after one, before this many.
    with FeatureWriter(out, manifest, shard_size=shard_size + batch_size) as writer:
        _check_unchanged(writer, clips)
        # What stopped the last call must stop this one too: "fail" leaves no clip out.
        skipped = {} if retry_failed or missing == "fail" else dict(writer.failures)
        before = set(writer.done)
        job = _Extraction(writer, *encoders, batch_size=batch_size, shard_size=shard_size, workers=workers)
        job.run(clips, skipped)
    return _report(clips, job, skipped, before, time.monotonic() - started)


def _check_counts(**counts: int | None) -> None:
    for name, value in counts.items():
        if value is not None and value < 1:
            raise InputError(f"{name} must be 1 or more, not {value}")


def _report(
    clips: Sequence[Clip], job: _Extraction, skipped: Mapping[str, Failure], before: set[str], seconds: float
) -> ExtractReport:
    writer, ids = job.writer, {clip.clip_id for clip in clips}
    stored = writer.done & ids
    failed = tuple(failure for key, failure in sorted(writer.failures.items()) if key in ids)
    if not stored:
        raise InputError(
            f"no clip could be stored in {writer.path}; {writer.path / 'failures.csv'} lists why:\n"
            + "\n".join(reasons([(failure.clip_id, failure.reason) for failure in failed]))
            + "\nCorrect the clip list or the files, and run the command again with --retry-failed"
        )
    return ExtractReport(
        out=writer.path,
        listed=len(clips),
        stored=len(stored),
        new=len(stored - before),
        failed=failed,
        not_tried=sum(failure.clip_id in skipped for failure in failed),
        remade=writer.remade,
        others=len(before - ids),
        remarks=tuple(job.remarks),
        seconds=seconds,
    )


def _encoders(
    visual: str | VisualEncoder, audio: str | AudioEncoder
) -> tuple[VisualEncoder | None, AudioEncoder | None]:
    from avcil.encoders.registry import audio_encoder, visual_encoder

    if isinstance(visual, str):
        visual = None if visual == "none" else visual_encoder(visual)
    if isinstance(audio, str):
        audio = None if audio == "none" else audio_encoder(audio)
    return visual, audio


def manifest_of(
    visual: VisualEncoder | None, audio: AudioEncoder | None, *, missing: str, dtype: str
) -> Manifest:
    """The manifest of a store made with these encoders."""
    wanted = Wanted.of(visual, audio)
    sampling: dict[str, Any] = {}
    if visual is not None:
        sampling |= {"frames": wanted.frames, "short_side": wanted.short_side}
    if audio is not None:
        sampling["sample_rate"] = wanted.sample_rate
    return Manifest(
        visual=visual and Modality(shape=(*visual.token_grid, visual.width), encoder=visual.fingerprint()),
        audio=audio and Modality(shape=(audio.width,), encoder=audio.fingerprint()),
        dtype=dtype,
        sampling=sampling,
        missing=missing,
        libraries={name: version(name) for name in (*LIBRARIES, *_libraries(visual), *_libraries(audio))},
    )


def _libraries(encoder: VisualEncoder | AudioEncoder | None) -> tuple[str, ...]:
    return () if encoder is None else encoder.libraries


def _check_unchanged(writer: FeatureWriter, clips: Sequence[Clip]) -> None:
    """Refuse a list that gives a stored clip another label, split or stretch than the store has."""
    if not writer.done:
        return
    stored = {clip.clip_id: clip for clip in FeatureStore(writer.path).clips}
    for clip in clips:
        if clip.clip_id in stored:
            for name in ("label", "split", "start", "end"):
                now, then = getattr(clip, name), getattr(stored[clip.clip_id], name)
                if now != then:
                    raise InputError(
                        f"clip {clip.clip_id!r} is stored in {writer.path} with {name} {then!r}, but the "
                        "clip list now "
                        f"says {now!r}. {NEW_PLACE}"
                    )


class _Extraction:
    """One run over the clips that are not stored yet."""

    def __init__(
        self,
        writer: FeatureWriter,
        visual: VisualEncoder | None,
        audio: AudioEncoder | None,
        *,
        batch_size: int,
        shard_size: int,
        workers: int | None,
    ) -> None:
        self.writer, self.visual, self.audio = writer, visual, audio
        self.batch_size, self.shard_size = batch_size, shard_size
        self.workers = workers or len(os.sched_getaffinity(0))
        self.wanted = Wanted.of(visual, audio)
        self.pending = 0
        self.remarks: list[tuple[str, str]] = []

    def run(self, clips: Sequence[Clip], skipped: Mapping[str, Failure]) -> None:
        """Store what can be stored; a stop from the keyboard keeps what was encoded."""
        leave = self.writer.done | skipped.keys()
        batches = [clips[i : i + self.batch_size] for i in range(0, len(clips), self.batch_size)]
        batches = [
            kept for batch in batches if (kept := [clip for clip in batch if clip.clip_id not in leave])
        ]
        todo = sum(map(len, batches))
        progress = Progress(len(clips), "clips", begun=len(clips) - todo)
        reader = read_ahead(
            (clip for batch in batches for clip in batch),
            self.wanted,
            workers=self.workers,
            ahead=self.batch_size + self.workers,
        )
        try:
            for batch in batches:
                self._store(islice(reader, len(batch)), progress)
        except (KeyboardInterrupt, MissingModality):
            self.writer.commit()
            raise
        finally:
            reader.close()
            progress.close()

    def _store(self, batch: Iterator[ReadClip], progress: Progress) -> None:
        good = [read for read in batch if self._is_usable(read, progress)]
        for read, arrays in zip(good, self._encode(good), strict=True):
            failed = isinstance(arrays, str)
            if not failed:
                try:
                    self.writer.add(read.clip, **arrays)
                    self.pending += 1
                    if read.reason:
                        self.remarks.append((read.clip.clip_id, read.reason))
                except InputError as error:
                    failed, arrays = True, str(error)
            if failed:
                self.writer.fail(read.clip, arrays, self.wanted.tried(read.clip))
            progress.step(failed=failed)
        if self.pending >= self.shard_size:
            self.writer.commit()
            self.pending = 0

    def _is_usable(self, read: ReadClip, progress: Progress) -> bool:
        lacks = read.lacks(self.wanted)
        both = lacks and read.frames is None and read.sound is None
        if not lacks or (self.writer.manifest.missing == "zero" and not both):
            return True
        reason = read.reason or f"it has no {' and no '.join(lacks)}"
        self.writer.fail(read.clip, reason, self.wanted.tried(read.clip))
        if self.writer.manifest.missing == "fail":
            raise MissingModality(
                f"clip {read.clip.clip_id!r} ({read.clip.path}): {reason}. Stopped, as --missing is "
                "fail; what was "
                "made before is kept. Take the clip out of the list, or extract with --missing skip or zero"
            )
        progress.step(failed=True)
        return False

    def _encode(self, batch: Sequence[ReadClip]) -> list[dict[str, np.ndarray] | str]:
        """Each clip's arrays, or why it could not be encoded: a batch that fails is tried clip by clip."""
        try:
            return self._encode_together(batch)
        except Exception as error:  # an encoder can fail on one odd clip; only that one is listed
            if len(batch) == 1:
                return [f"it cannot be encoded: {type(error).__name__}: {error}"]
            return [arrays for read in batch for arrays in self._encode([read])]

    def _encode_together(self, batch: Sequence[ReadClip]) -> list[dict[str, np.ndarray] | str]:
        arrays: list[dict[str, np.ndarray] | str] = [{} for _ in batch]
        for name, encoder, given in (
            ("visual", self.visual, [read.frames for read in batch]),
            ("audio", self.audio, [read.sound for read in batch]),
        ):
            present = [place for place, value in enumerate(given) if value is not None]
            if encoder is not None and present:
                for place, value in zip(
                    present, encoder.encode([given[place] for place in present]), strict=True
                ):
                    arrays[place][name] = value
        return arrays


class MissingModality(InputError):
    """A clip lacks a modality where that is not allowed."""
