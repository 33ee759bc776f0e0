"""A learning job of the page or the API: learn uploads, evaluate before and after, save the model."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from avcil.errors import AvcilError
from avcil.inference.clip_features import ClipFeatures, ClipReader, Source
from avcil.inference.evaluated_learning import EvaluatedLearnReport, learn_and_evaluate, total
from avcil.inference.held_out import HeldOut
from avcil.inference.recognizer import Recognizer
from avcil.media.overlay import encode_png
from avcil.reporting.attention_figure import shrink
from avcil.saved_models.folder import BACKGROUND
from avcil.serve.decoding import UploadReader
from avcil.serve.incoming import Upload
from avcil.serve.schema import Accuracies, SkippedClip, TeachResponse, TeachResult
from avcil.serve.state_directory import StateDirectory
from avcil.serve.state_entries import ChangeEntry, LostJob
from avcil.utils.files import is_storage_error, write_atomically

FULL_DISK = "the server's disk is full or read-only; nothing was changed"
_NO_HELD_OUT = "fewer than 4 usable clips: all were learned, so the class was not evaluated"


@dataclass
class LearningJob:
    """The progress and the result of a learning job."""

    number: int
    label: str
    clips: int
    doing: str = "reading clips"
    done: int = 0
    total: int = 0
    left_out: list[SkippedClip] = field(default_factory=list)
    result: TeachResult | None = None
    error: str | None = None
    update: int | None = None
    """The number of its entry in state.json, once it is written."""
    lost: bool = False
    """Whether an earlier server process accepted it and was killed before it was finished."""
    ended: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def of_entry(cls, entry: ChangeEntry) -> LearningJob:
        """A job that an earlier server process finished."""
        job = cls(
            number=entry["teaching"],
            label=entry["label"],
            clips=entry["clips"] or 0,
            left_out=[SkippedClip(**clip) for clip in entry["left_out"]],
            result=TeachResult(**entry["result"]),
            update=entry["number"],
        )
        job.ended.set()
        return job

    @classmethod
    def of_lost(cls, lost: LostJob) -> LearningJob:
        """A job that an earlier server process accepted and that is lost."""
        number, label, clips = lost["number"], lost["label"], lost["clips"]
        job = cls(number=number, label=label, clips=clips, error=lost["reason"], lost=True)
        job.ended.set()
        return job

    def progress(self, doing: str, done: int, total: int) -> None:
        """Set the progress."""
        self.doing, self.done, self.total = doing, done, total

    @property
    def state(self) -> Literal["learning", "done", "failed", "lost"]:
        """The state in the HTTP API."""
        if not self.ended.is_set():
            return "learning"
        return "lost" if self.lost else "failed" if self.error else "done"

    def response(self) -> TeachResponse:
        """The response of the HTTP API."""
        return TeachResponse.model_validate(self, from_attributes=True)


def _middle_frame(features: ClipFeatures) -> bytes | None:
    """The middle frame of a clip as PNG; None if it has no frames."""
    read = features.read
    if read is None or read.frames is None:
        return None
    return encode_png(shrink(read.frames[len(read.frames) // 2]))


def run_learning_job(
    job: LearningJob,
    clips: Sequence[Upload],
    *,
    recognizer: Recognizer,
    old: HeldOut,
    uploads: UploadReader,
    directory: StateDirectory,
) -> None:
    """Learn the clips and save the model. The result, or the error, is set in `job`."""
    before = recognizer.snapshot()
    try:
        job.result = _learn(job, clips, recognizer, old, uploads, directory)
    except Exception as error:
        if recognizer.snapshot() is not before:
            recognizer.restore(before)
        known = isinstance(error, AvcilError)
        job.error = str(error) if known else f"unexpected {type(error).__name__}; nothing was changed"
        if is_storage_error(error):
            job.error = FULL_DISK
        for clip in clips:
            job.error = job.error.replace(str(clip.path), clip.name)


def _learn(
    job: LearningJob,
    clips: Sequence[Upload],
    recognizer: Recognizer,
    old: HeldOut,
    uploads: UploadReader,
    directory: StateDirectory,
) -> TeachResult:
    """Learn the clips, write the model and its entry into the state directory, and return the result of the job."""
    label = job.label
    is_new = label not in recognizer.snapshot().labels
    names = {str(clip.path): clip.name for clip in clips}
    frames: list[bytes] = []
    report = learn_and_evaluate(
        recognizer,
        [clip.path for clip in clips],
        [label] * len(clips),
        old=old,
        features_of=lambda paths: _features(paths, label, names, frames, uploads, recognizer.reader),
        progress=job.progress,
    )
    job.left_out = [
        SkippedClip(name=names[str(problem.path)], reason=problem.reason) for problem in report.problems
    ]
    job.progress("saving", 0, 1)
    result = _result(report, label, is_new=is_new, old_clips=len(old.labels))

    def write(folder: Path) -> None:
        recognizer.save(folder / "model")
        if report.held_out.labels:
            report.held_out.save(folder / "heldout.safetensors")
        if frames:
            write_atomically(folder / "frame.png", lambda file: file.write(frames[0]))

    entry: ChangeEntry = {
        "label": label,
        "learned": result.learned,
        "held_out": list(report.held_out.labels),
        "result": result.model_dump(),
        "teaching": job.number,
        "clips": job.clips,
        "left_out": [clip.model_dump() for clip in job.left_out],
    }
    job.update = directory.add(entry, write)["number"]
    return result


def _features(
    paths: Sequence[Source],
    label: str,
    names: Mapping[str, str],
    frames: list[bytes],
    uploads: UploadReader,
    reader: ClipReader,
) -> Iterator[ClipFeatures | AvcilError]:
    """The features of uploads, whose ids contain the `names` of the files. A frame is added to `frames` if empty."""
    files = [Path(str(path)) for path in paths]
    for number, features in enumerate(uploads.features(files, reader)):
        if isinstance(features, ClipFeatures):
            if label != BACKGROUND and not frames and (png := _middle_frame(features)) is not None:
                frames.append(png)
            features = replace(features, clip_id=f"{label}/{number:04d} {names[str(files[number])]}")
        yield features


def _result(report: EvaluatedLearnReport, label: str, *, is_new: bool, old_clips: int) -> TeachResult:
    """The result of the job in the HTTP API."""
    held_out = len(report.held_out.labels)
    notes = [] if held_out or label == BACKGROUND else [_NO_HELD_OUT]
    return TeachResult(
        new_class=is_new,
        learned=sum({**report.learned.new, **report.learned.extended}.values()),
        held_out=held_out,
        accuracy_before=_accuracies(report, "before"),
        accuracy_after=_accuracies(report, "after"),
        old_clips=old_clips,
        notes=[*report.notes, *notes],
        seconds_learning=report.learned.seconds_learning,
    )


def _accuracies(report: EvaluatedLearnReport, when: Literal["before", "after"]) -> Accuracies:
    """Accuracy on clips of old classes and of the learned class; None without clips."""
    scores = {"old": total("old", report.old), "new": total("new", report.new)}
    return Accuracies(
        **{
            name: None if score is None else (getattr(score, when) or 0) / score.clips
            for name, score in scores.items()
        }
    )
