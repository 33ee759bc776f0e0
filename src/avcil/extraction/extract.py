"""Extraction: from a clip list to a feature store.

Worker processes read clips while the encoders run. The composition of batches depends on the clip list only, so that
the result is the same if the extraction is interrupted, distributed over machines, or run on a cluster.

Shapes: F frames, H x W pixels, N samples, T time slices, S spatial tokens per slice, D width.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from avcil.data.clips import Clip, check_clips
from avcil.data.copies import check_leaks
from avcil.encoders.base import AudioEncoder, JointEncoder, VisualEncoder
from avcil.errors import InputError
from avcil.extraction.batch_size import resolve_batch_size
from avcil.extraction.encoding import EncoderOptions
from avcil.extraction.engine import Engine, LocalEngine
from avcil.extraction.outcome import ClipOutcome
from avcil.extraction.report import ExtractReport
from avcil.features.failures import Failure, reason_lines
from avcil.features.index_lines import StoredClip
from avcil.features.manifest import check_missing
from avcil.features.part import ListPart
from avcil.features.source import change_of
from avcil.features.store_folder import OTHER_FOLDER
from avcil.features.writer import FeatureWriter
from avcil.media.reader import ReadLimits
from avcil.utils.cores import available_cores
from avcil.utils.csv_files import escape_surrogates
from avcil.utils.progress import Progress

Batch = list[Clip]


def extract(
    clips: Sequence[Clip],
    out: str | Path,
    *,
    visual: str | VisualEncoder | None = None,
    audio: str | AudioEncoder | None = None,
    joint: str | JointEncoder | None = None,
    missing: str = "skip",
    dtype: str = "float16",
    retry_failed: bool = False,
    add: bool = False,
    workers: int | None = None,
    batch_size: int | Literal["auto"] = 16,
    shard_size: int = 64,
    device: str | None = None,
    precision: str | None = None,
    audio_tokens: bool = False,
    part: str | None = None,
    limits: ReadLimits | None = None,
    isolate: bool = True,
    ray: str | None = None,
) -> ExtractReport:
    """Encode clips into a feature store. The same call resumes an interrupted extraction.

    Args:
        clips: The clip list.
        out: Folder of the store.
        visual: Name of a visual encoder, an encoder, or "none"; None is `registry.DEFAULT_VISUAL`.
        audio: Name of an audio encoder, an encoder, or "none"; None is `registry.DEFAULT_AUDIO`.
        joint: Name of a joint encoder, or an encoder, instead of `visual` and `audio`.
        missing: Policy for clips that lack audio or frames: "skip" lists them as failed, "keep" stores the other
            modality, "fail" stops.
        dtype: "float16" or "float32".
        retry_failed: Retry clips that failed in an earlier call.
        add: Keep stored clips in use that are not in `clips`; otherwise they are hidden and not used in training.
        workers: Number of clips read in parallel; None is the number of CPU cores.
        batch_size: Number of clips encoded together; "auto" measures it once and records it in the store.
        shard_size: Minimum number of clips per shard.
        device: "cpu", "cuda", "cuda:1", ...; None is a GPU, if there is one and the encoders can use it.
        precision: "float32" or "bfloat16"; None is bfloat16 on a GPU.
        audio_tokens: Also store audio tokens (`FeatureStore.audio_tokens`).
        part: "I/N", the I-th of N parts of the list, counted from 1, for N calls that write to one store.
        limits: Limits of time and memory for reading one clip.
        isolate: Read in worker processes; otherwise in threads, without a memory limit.
        ray: Address of a Ray cluster that does the work ("local" starts one); encoders must then be names.

    Raises:
        InputError: An encoder is unknown, options are incompatible with each other or with the store, or no clip could
            be stored.
    """
    started, clips = time.monotonic(), list(clips)
    check_clips(clips, "the clip list")
    notes = check_leaks(clips, "the clip list")
    _check_options(missing, is_joint=joint is not None, workers=workers, shard_size=shard_size)
    options = EncoderOptions(
        visual=visual, audio=audio, joint=joint, device=device, precision=precision, audio_tokens=audio_tokens
    )
    with _engine(options, limits or ReadLimits(), workers, isolate=isolate, ray=ray) as engine:
        manifest = engine.encoders.manifest(missing=missing, dtype=dtype)
        with FeatureWriter(out, manifest, shard_size=2**62) as writer:  # commits between batches only
            job = _Extraction(writer, engine, shard_size=shard_size)
            job.select(clips, add=add, retry_failed=retry_failed)
            size = resolve_batch_size(batch_size, writer.path, engine.best_batch_size)
            job.run(ListPart.parse(part).of(_in_batches(clips, size)))
    return job.report(time.monotonic() - started, notes)


def _check_options(missing: str, *, is_joint: bool, **counts: int | None) -> None:
    check_missing(missing)
    if is_joint and missing == "keep":
        raise InputError(
            "a joint encoder needs audio and frames, so a clip that lacks one has no features to keep. With --missing "
            "skip such clips are listed in failures.csv, with fail the first one stops the extraction"
        )
    for name, value in counts.items():
        if value is not None and value < 1:
            raise InputError(f"{name} must be 1 or more, not {value}")


def _in_batches(clips: Sequence[Clip], size: int) -> list[Batch]:
    return [list(clips[i : i + size]) for i in range(0, len(clips), size)]


def _check_unchanged(store: Path, stored: Mapping[str, StoredClip], clips: Sequence[Clip]) -> None:
    """Raise InputError if a stored clip has another label, split, start or end in the list."""
    for clip in clips:
        if clip.clip_id in stored:
            for name in ("label", "split", "start", "end"):
                now, then = getattr(clip, name), getattr(stored[clip.clip_id], name)
                if now != then:
                    raise InputError(
                        f"clip {clip.clip_id!r} is stored in {store} with {name} {then!r}, but the "
                        f"clip list has {now!r}. {OTHER_FOLDER}"
                    )


def _changed(stored: Mapping[str, StoredClip], clips: Sequence[Clip]) -> list[str]:
    """Ids of stored clips whose file has changed; a missing file does not count."""
    known = [(clip, stored[clip.clip_id].source) for clip in clips if clip.clip_id in stored]
    return [clip.clip_id for clip, source in known if source and change_of(source, clip.path) == "changed"]


def _failed_before(failures: Mapping[str, Failure], clips: Sequence[Clip]) -> dict[str, Failure]:
    """The failures of these clips, if the path is the same."""
    path_of = {clip.clip_id: escape_surrogates(str(clip.path)) for clip in clips}
    return {key: failure for key, failure in failures.items() if path_of.get(key) == failure.path}


@contextmanager
def _engine(
    options: EncoderOptions, limits: ReadLimits, workers: int | None, *, isolate: bool, ray: str | None
) -> Iterator[Engine]:
    """The engine: this machine, or the cluster at the address `ray`."""
    if ray is None:
        workers = workers or available_cores()
        yield LocalEngine(encoders=options.build(), limits=limits, workers=workers, isolate=isolate)
        return
    from avcil.extraction.ray_engine import on_cluster

    with on_cluster(options, limits, ray) as cluster:
        yield cluster


class _Extraction:
    """The state of one call of `extract`."""

    def __init__(self, writer: FeatureWriter, engine: Engine, *, shard_size: int) -> None:
        self.writer, self.engine, self.shard_size = writer, engine, shard_size
        self.can_keep_incomplete = engine.encoders.joint is None
        self.uncommitted = 0
        self.incomplete = 0
        self.remarks: list[tuple[str, str]] = []
        self.clips: list[Clip] = []
        """Clips of this part of the list."""

    def select(self, clips: Sequence[Clip], *, add: bool, retry_failed: bool) -> None:
        """Compare the clip list with the store, and decide which clips are hidden or skipped."""
        listed = {clip.clip_id for clip in clips}
        self.stored = self.writer.stored()
        _check_unchanged(self.writer.path, self.stored, clips)
        self.unlisted = self.writer.use_only(None if add else listed)
        self.not_listed = len(self.stored.keys() - listed)
        # With "fail", a clip that stopped the last call must stop this one too.
        retry = retry_failed or self.writer.manifest.missing == "fail"
        self.skipped = {} if retry else _failed_before(self.writer.failures, clips)

    def run(self, batches: Sequence[Batch]) -> None:
        """Encode the clips that are not stored yet, and store the outcomes; an interrupt keeps what was encoded."""
        self.clips = [clip for batch in batches for clip in batch]
        batches = self._remaining(batches)
        outcomes = self.engine.outcomes(batches, missing=self.writer.manifest.missing)
        progress = Progress(len(self.clips), "clips", initial=len(self.clips) - sum(map(len, batches)))
        try:
            for batch in outcomes:
                for outcome in batch:
                    progress.step(failed=not self._store(outcome))
                if self.uncommitted >= self.shard_size:
                    self.writer.begin_commit()  # encoders do not wait for the disk
                    self.uncommitted = 0
        except (KeyboardInterrupt, _MissingModalityError):
            self.writer.commit()
            raise
        finally:
            outcomes.close()
            progress.close()

    def _remaining(self, batches: Sequence[Batch]) -> list[Batch]:
        """The clips of each batch that must be encoded; clips whose file has changed are removed from the store."""
        self.changed = _changed(self.stored, self.clips)
        self.writer.remove(self.changed)
        self.stored_before = set(self.writer.done)
        excluded = self.stored_before | self.skipped.keys()
        shortened = ([clip for clip in batch if clip.clip_id not in excluded] for batch in batches)
        return [batch for batch in shortened if batch]

    def _store(self, outcome: ClipOutcome) -> bool:
        """Store a clip, or list it as failed. Returns whether it was stored."""
        failure = outcome.failure
        if outcome.arrays is not None:
            try:
                self.writer.add(outcome.clip, **outcome.arrays, remark=outcome.remark, source=outcome.source)
                self.uncommitted += 1
                if outcome.remark:
                    self.remarks.append((outcome.clip.clip_id, outcome.remark))
                return True
            except InputError as error:
                failure = str(error)
        self.incomplete += outcome.has_other_modality
        self.writer.fail(outcome.clip, failure, self.engine.encoders.decode_spec.describe(outcome.clip))
        if outcome.lacks_modality and self.writer.manifest.missing == "fail":
            policies = "skip or keep" if self.can_keep_incomplete else "skip"
            raise _MissingModalityError(
                f"clip {outcome.clip.clip_id!r} ({outcome.clip.path}): {failure}. Stopped, since --missing is "
                "fail; clips encoded before are kept. Remove the clip from the list, or extract with --missing "
                f"{policies}"
            )
        return False

    def report(self, seconds: float, notes: Sequence[str]) -> ExtractReport:
        """The result; InputError if no clip is stored."""
        writer, ids = self.writer, {clip.clip_id for clip in self.clips}
        stored = writer.done & ids
        failed = tuple(failure for key, failure in sorted(writer.failures.items()) if key in ids)
        if ids and not stored:
            raise InputError(
                f"no clip could be stored in {writer.path}; {writer.path / 'failures.csv'} lists why:\n"
                + "\n".join(reason_lines([(failure.clip_id, failure.reason) for failure in failed]))
                + "\nCorrect the clip list or the files, and run the command again with --retry-failed"
            )
        return ExtractReport(
            out=writer.path,
            listed=len(ids),
            stored=len(stored),
            new=len(stored - self.stored_before),
            failed=failed,
            incomplete=self.incomplete if self.can_keep_incomplete else 0,
            not_tried=sum(failure.clip_id in self.skipped for failure in failed),
            reencoded=writer.reencoded,
            remarks=tuple(self.remarks),
            seconds=seconds,
            changed=len(self.changed),
            not_listed=self.not_listed,
            unlisted=self.unlisted,
            notes=tuple(notes),
        )


class _MissingModalityError(InputError):
    """A clip lacks a modality, and the policy is "fail"."""
