"""One teaching: read the clips, hold some out, learn, measure before and after, save, and make it count."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avcil.errors import AvcilError, InputError
from avcil.inference.clip_features import ClipFeatures
from avcil.inference.recognizer import Recognizer
from avcil.media.overlay import encode_png
from avcil.models.base import modality_parts
from avcil.reporting.attention_figure import shrink
from avcil.serve import heldout
from avcil.serve.heldout import HeldOut
from avcil.serve.incoming import Upload
from avcil.utils.files import is_storage_error, write_atomically

if TYPE_CHECKING:
    from avcil.serve.service import Service

FULL_DISK = "the server's disk is full or cannot be written to; nothing was changed"


@dataclass
class Teaching:
    """How far one teaching is, and what came of it."""

    number: int
    label: str
    clips: int
    doing: str = "reading clips"
    done: int = 0
    total: int = 0
    left_out: list[dict[str, str]] = field(default_factory=list)
    result: dict[str, Any] | None = None
    error: str | None = None
    sitting: int | None = None
    """The number of what it added to the work folder, once it counts."""
    lost: bool = False
    """Whether an earlier server process accepted it and was killed before it was learned."""
    ended: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def of_sitting(cls, sitting: dict[str, Any]) -> Teaching:
        """A teaching that an earlier server process finished."""
        teaching = cls(
            number=sitting["teaching"],
            label=sitting["label"],
            clips=sitting["clips"],
            left_out=sitting["left_out"],
            result=sitting["result"],
            sitting=sitting["number"],
        )
        teaching.ended.set()
        return teaching

    @classmethod
    def of_lost(cls, lost: dict[str, Any]) -> Teaching:
        """A teaching that an earlier server process accepted and that is lost."""
        number, label, clips = lost["number"], lost["label"], lost["clips"]
        teaching = cls(number=number, label=label, clips=clips, error=lost["reason"], lost=True)
        teaching.ended.set()
        return teaching

    def progress(self, doing: str, done: int, total: int) -> None:
        """Note how far it is."""
        self.doing, self.done, self.total = doing, done, total

    def to_dict(self) -> dict[str, Any]:
        """For the HTTP API."""
        ended = "lost" if self.lost else "failed" if self.error else "done"
        state = ended if self.ended.is_set() else "learning"
        names = ("number", "label", "clips", "doing", "done", "total", "left_out", "result", "error")
        return {"state": state, **{name: getattr(self, name) for name in names}}


def teach(service: Service, teaching: Teaching, clips: Sequence[Upload]) -> None:
    """Do it all, and leave in `teaching` the result or, in words, what went wrong; then nothing has changed."""
    before = service.recognizer.snapshot()
    try:
        teaching.result = _teach(service, teaching, clips)
    except Exception as error:
        if service.recognizer.snapshot() is not before:
            service.recognizer.restore(before)
        known = isinstance(error, AvcilError)
        teaching.error = str(error) if known else f"unexpected {type(error).__name__}; nothing was changed"
        if is_storage_error(error):
            teaching.error = FULL_DISK
        for clip in clips:
            teaching.error = teaching.error.replace(str(clip.path), clip.name)


def _teach(service: Service, teaching: Teaching, clips: Sequence[Upload]) -> dict[str, Any]:
    recognizer, label = service.recognizer, teaching.label
    found, frame = _read(service, teaching, clips)
    learnt, held = heldout.split(len(found))
    new = HeldOut(features=tuple(found[i] for i in held), labels=(label,) * len(held))
    old = service.held_out_so_far()
    teaching.progress("evaluating the model before", 0, 1)
    extends = label in recognizer.classes_
    before = _measured(recognizer, old, new)
    report = recognizer.learn(
        [found[i] for i in learnt], [label] * len(learnt), progress=lambda *at: teaching.progress(*at)
    )
    teaching.progress("evaluating the model after", 0, 1)
    result = {
        "new_class": not extends,
        "learnt": len(learnt),
        "held_out": len(held),
        "accuracy_before": before,
        "accuracy_after": _measured(recognizer, old, new),
        "old_clips": len(old.labels),
        "notes": [*report.notes, *_notes(service, old, new)],
        "seconds_learning": report.seconds_learning,
    }
    teaching.progress("saving", 0, 1)

    def write(folder: Path) -> None:
        recognizer.save(folder / "model")
        if held:
            new.save(folder / "heldout.safetensors")
        if frame is not None:
            write_atomically(folder / "frame.png", lambda file: file.write(frame))

    entry = {
        "label": label,
        "learnt": len(learnt),
        "held_out": list(new.labels),
        "result": result,
        "teaching": teaching.number,
        "clips": teaching.clips,
        "left_out": teaching.left_out,
    }
    teaching.sitting = service.work.add(entry, write)["number"]
    return result


def _read(
    service: Service, teaching: Teaching, clips: Sequence[Upload]
) -> tuple[list[ClipFeatures], bytes | None]:
    """Features of the clips that can be learnt from, and a frame as PNG; the others are listed in `teaching`."""
    has_audio, has_visual = modality_parts(service.recognizer.modality)
    found: list[ClipFeatures] = []
    frame = None
    for position, clip in enumerate(clips):
        teaching.progress("reading clips", position, len(clips))
        try:
            with service.uploads.checked(clip.path) as session:
                features = service.recognizer.reader.features(clip.path, media=session)
            lacking = (has_audio and features.audio is None) or (has_visual and features.visual is None)
            if lacking:
                raise InputError(f"{features.notes or 'a modality is missing'}; it is needed for learning")
        except AvcilError as error:
            teaching.left_out.append(
                {"name": clip.name, "reason": str(error).replace(str(clip.path), "the clip")}
            )
            continue
        if frame is None and features.read is not None and features.read.frames is not None:
            frame = encode_png(shrink(features.read.frames[len(features.read.frames) // 2]))
        clip_id = f"{teaching.label}/{position:04d} {clip.name}"
        found.append(replace(features, read=None, clip_id=clip_id))
    if not found:
        reasons = "; ".join(f"{left['name']}: {left['reason']}" for left in teaching.left_out[:3])
        raise InputError(f"none of the {len(clips)} clips can be learnt from: {reasons}")
    return found, frame


def _measured(recognizer: Recognizer, old: HeldOut, new: HeldOut) -> dict[str, float | None]:
    return {"old": old.accuracy(recognizer), "new": new.accuracy(recognizer)}


def _notes(service: Service, old: HeldOut, new: HeldOut) -> list[str]:
    notes = []
    if service.no_held_out:
        notes.append(f"accuracy of the first classes is not known: {service.no_held_out}")
    if not new.labels:
        notes.append(
            "fewer than 4 usable clips: all were learnt from, so none is left to measure the class by"
        )
    return notes
