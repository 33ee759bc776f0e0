"""Extraction: from a clip list to a feature store.

Clips are read by several processes while the encoders work, and encoded in batches whose members depend on the clip
list alone, so that an extraction that was interrupted, shared among processes, or done by a cluster gives what an
undisturbed one gives.

Shapes: F frames, H x W pixels, N samples, T time slices, S spatial tokens per slice, D width.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from avcil.data.clips import Clip, check_clips
from avcil.data.copies import check_leaks
from avcil.encoders.base import AudioEncoder, JointEncoder, VisualEncoder
from avcil.errors import InputError
from avcil.extraction.batch_size import settled_batch_size
from avcil.extraction.encoding import EncoderNames, Encoders
from avcil.extraction.engine import Engine, Here
from avcil.extraction.outcome import ClipOutcome
from avcil.extraction.report import ExtractReport
from avcil.features.failures import Failure, reasons
from avcil.features.index import StoredClip
from avcil.features.manifest import NEW_PLACE, check_missing
from avcil.features.part import Part
from avcil.features.source import change_of
from avcil.features.writer import FeatureWriter, printable
from avcil.media.reader import ReadLimits
from avcil.utils.cores import available_cores
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
    """Encode `clips` into the feature store `out`; the same call again goes on where it stopped.

    :param visual: the name of a visual encoder, an encoder, or "none"; None is `registry.DEFAULT_VISUAL`.
    :param audio: the name of an audio encoder, an encoder, or "none"; None is `registry.DEFAULT_AUDIO`.
    :param joint: the name of a joint encoder, or an encoder, instead of `visual` and `audio`.
    :param missing: what to do with a clip that lacks its picture or sound: "skip" lists it as failed, "keep"
        stores what it has, "fail" stops.
    :param dtype: "float16" or "float32".
    :param retry_failed: try the clips again that failed in an earlier call.
    :param add: keep stored clips in use that `clips` does not name; otherwise the store keeps them but does not show
        them, and training does not use them.
    :param workers: clips read at once; None is one a processor core.
    :param batch_size: clips encoded together; "auto" measures once for a store, which remembers it.
    :param shard_size: clips a shard, at least.
    :param device: "cpu", "cuda", "cuda:1", ...; None is a GPU if there is one, for encoders that can use it.
    :param precision: "float32" or "bfloat16"; None is bfloat16 on a GPU.
    :param audio_tokens: store what the audio vector is made of as well (`FeatureStore.audio_tokens`).
    :param part: "I/N", the I-th of N equal parts of the list, counted from 1, for N calls that fill one store.
    :param limits: time and memory for reading one clip.
    :param isolate: read in processes of their own; False reads in threads of this one, without a limit of memory.
    :param ray: the address of a Ray cluster that does the work ("local" starts one); encoders must then be names.
    :raises InputError: for unknown names, a joint encoder with `missing="keep"`, a store made in another way, and if no
        clip could be stored.
    """
    started = time.monotonic()
    clips = list(clips)
    check_clips(clips, "the clip list")
    notes = check_leaks(clips, "the clip list")
    check_missing(missing)
    if joint is not None and missing == "keep":
        raise InputError(
            "a joint encoder needs picture and sound, so a clip that lacks one has no features to keep. With --missing "
            "skip such clips are listed in failures.csv, with fail the first one stops the extraction"
        )
    _check_counts(workers=workers, shard_size=shard_size)
    chosen = {"device": device, "precision": precision, "audio_tokens": audio_tokens}
    names = EncoderNames.of(visual, audio, joint, **chosen)
    here = {
        "limits": limits or ReadLimits(),
        "workers": workers or available_cores(),
        "isolate": isolate,
    }
    with (
        _engine(names, partial(Encoders.of, visual, audio, joint, **chosen), here, ray) as engine,
        FeatureWriter(
            out, engine.encoders.manifest(missing=missing, dtype=dtype), shard_size=2**62
        ) as writer,  # committed here, between batches
    ):
        listed = {clip.clip_id for clip in clips}
        stored = writer.stored()
        _check_unchanged(writer.path, stored, clips)
        unlisted = writer.use_only(None if add else listed)
        size = settled_batch_size(batch_size, writer.path, engine.best_batch_size)
        own = Part.parse(part).of(_in_batches(clips, size))
        # What stopped the last call must stop this one too: "fail" leaves no clip out.
        skipped = {} if retry_failed or missing == "fail" else _failed_before(writer.failures, clips)
        tried = [clip for batch in own for clip in batch]
        changed = _changed(stored, tried)
        writer.remove(changed)
        before = set(writer.done)
        job = _Extraction(writer, engine.encoders, shard_size=shard_size)
        batches = _left(own, writer.done | skipped.keys())
        job.run(engine.outcomes(batches, missing=missing), total=len(tried), left=sum(map(len, batches)))
    return replace(
        _report(tried, job, skipped, before, time.monotonic() - started),
        changed=len(changed),
        others=len(stored.keys() - listed),
        unlisted=unlisted,
        notes=tuple(notes),
    )


def _check_counts(**counts: int | None) -> None:
    for name, value in counts.items():
        if value is not None and value < 1:
            raise InputError(f"{name} must be 1 or more, not {value}")


def _in_batches(clips: Sequence[Clip], size: int) -> list[Batch]:
    return [list(clips[i : i + size]) for i in range(0, len(clips), size)]


def _left(batches: Iterable[Batch], leave: set[str]) -> list[Batch]:
    """What of the batches is still to do, in the same batches."""
    shortened = ([clip for clip in batch if clip.clip_id not in leave] for batch in batches)
    return [batch for batch in shortened if batch]


def _check_unchanged(store: Path, stored: Mapping[str, StoredClip], clips: Sequence[Clip]) -> None:
    """Refuse a list that gives a stored clip another label, split or stretch than the store has."""
    for clip in clips:
        if clip.clip_id in stored:
            for name in ("label", "split", "start", "end"):
                now, then = getattr(clip, name), getattr(stored[clip.clip_id], name)
                if now != then:
                    raise InputError(
                        f"clip {clip.clip_id!r} is stored in {store} with {name} {then!r}, but the "
                        f"clip list now says {now!r}. {NEW_PLACE}"
                    )


def _changed(stored: Mapping[str, StoredClip], clips: Sequence[Clip]) -> list[str]:
    """Ids of stored clips whose file is another one now; a file that is gone has not changed."""
    known = [(clip, stored[clip.clip_id].source) for clip in clips if clip.clip_id in stored]
    return [clip.clip_id for clip, source in known if source and change_of(source, clip.path) == "changed"]


def _failed_before(failures: Mapping[str, Failure], clips: Sequence[Clip]) -> dict[str, Failure]:
    """The failures that say something of these clips: of the same file."""
    path_of = {clip.clip_id: printable(str(clip.path)) for clip in clips}
    return {key: failure for key, failure in failures.items() if path_of.get(key) == failure.path}


@contextmanager
def _engine(
    names: EncoderNames | None, encoders: Callable[[], Encoders], here: dict[str, Any], ray: str | None
) -> Iterator[Engine]:
    """Who works: this machine, or the cluster at the address `ray`."""
    if ray is None:
        yield Here(encoders=encoders(), **here)
        return
    from avcil.extraction.ray_engine import on_cluster

    with on_cluster(names, here["limits"], ray) as cluster:
        yield cluster


class _Extraction:
    """One run over the clips that are not stored yet."""

    def __init__(self, writer: FeatureWriter, encoders: Encoders, *, shard_size: int) -> None:
        self.writer, self.wanted, self.shard_size = writer, encoders.wanted, shard_size
        self.other_policies = "skip or keep" if encoders.joint is None else "skip"
        self.pending = 0
        self.remarks: list[tuple[str, str]] = []

    def run(self, outcomes: Iterator[list[ClipOutcome]], *, total: int, left: int) -> None:
        """Store what can be stored; a stop from the keyboard keeps what was encoded."""
        progress = Progress(total, "clips", initial=total - left)
        try:
            for batch in outcomes:
                for outcome in batch:
                    progress.step(failed=not self._store(outcome))
                if self.pending >= self.shard_size:
                    self.writer.begin_commit()  # encoders do not wait for the disk
                    self.pending = 0
        except (KeyboardInterrupt, MissingModality):
            self.writer.commit()
            raise
        finally:
            outcomes.close()  # type: ignore[attr-defined]
            progress.close()

    def _store(self, outcome: ClipOutcome) -> bool:
        """Whether the clip could be stored; else it is listed."""
        failure = outcome.failure
        if outcome.arrays is not None:
            try:
                self.writer.add(outcome.clip, **outcome.arrays, remark=outcome.remark, source=outcome.source)
                self.pending += 1
                if outcome.remark:
                    self.remarks.append((outcome.clip.clip_id, outcome.remark))
                return True
            except InputError as error:
                failure = str(error)
        self.writer.fail(outcome.clip, failure, self.wanted.tried(outcome.clip))
        if outcome.is_lacking and self.writer.manifest.missing == "fail":
            raise MissingModality(
                f"clip {outcome.clip.clip_id!r} ({outcome.clip.path}): {failure}. Stopped, as --missing is "
                "fail; what was made before is kept. Take the clip out of the list, or extract with --missing "
                f"{self.other_policies}"
            )
        return False


class MissingModality(InputError):
    """A clip lacks a modality where that is not allowed."""


def _report(
    tried: Sequence[Clip],
    job: _Extraction,
    skipped: Mapping[str, Failure],
    before: set[str],
    seconds: float,
) -> ExtractReport:
    writer, ids = job.writer, {clip.clip_id for clip in tried}
    stored = writer.done & ids
    failed = tuple(failure for key, failure in sorted(writer.failures.items()) if key in ids)
    if ids and not stored:
        raise InputError(
            f"no clip could be stored in {writer.path}; {writer.path / 'failures.csv'} lists why:\n"
            + "\n".join(reasons([(failure.clip_id, failure.reason) for failure in failed]))
            + "\nCorrect the clip list or the files, and run the command again with --retry-failed"
        )
    return ExtractReport(
        out=writer.path,
        listed=len(ids),
        stored=len(stored),
        new=len(stored - before),
        failed=failed,
        not_tried=sum(failure.clip_id in skipped for failure in failed),
        remade=writer.remade,
        remarks=tuple(job.remarks),
        seconds=seconds,
    )
