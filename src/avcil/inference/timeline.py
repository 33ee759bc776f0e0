"""What is to be seen and heard when in a long video: windows are asked one after another, as they are decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from avcil.data.clips import Clip
from avcil.errors import InputError
from avcil.extraction.read_ahead import ReadClip
from avcil.inference.answering import DEFAULT_ALPHA, Answer, Thresholds, answer_features, no_thresholds
from avcil.inference.clip_features import ClipFeatures, ClipReader, name_of
from avcil.media.reader import MediaSource, ThisProcess
from avcil.media.windows import ClipWindow, duration_of, window_spans
from avcil.saved_models.folder import SavedModel


@dataclass(frozen=True, kw_only=True)
class Event:
    """A stretch of a video and what it shows; the events of a video follow each other without gap or overlap."""

    start: float
    """Seconds."""
    end: float
    label: str | None
    """None where there is nothing that can be answered for."""
    probability: float
    """Of `label`; the mean where windows were joined."""
    in_distribution: bool | None
    """False: like none of the classes; None: the method cannot tell."""
    notes: str
    windows: int = 1
    """How many windows it rests on."""
    answer: Answer | None = None
    """Of its window; None where windows were joined, or nothing was answered."""


def timeline(
    state: SavedModel,
    reader: ClipReader,
    path: Path | str,
    *,
    window: float = 2.0,
    hop: float = 0.5,
    source: MediaSource | None = None,
    alpha: float = DEFAULT_ALPHA,
    thresholds: Thresholds = no_thresholds,
) -> Iterator[Event]:
    """An event for each window of `window` seconds, one every `hop` seconds.

    A window speaks for the time around its middle, half way to the middles of its neighbors; the first from the
    beginning, the last up to the end. Raises InputError if the file cannot be read. `source` reads the file: a
    worker process, or by default this process. `alpha` and `thresholds` as of `answer_features`.
    """
    path = Path(path)
    media: MediaSource = source or ThisProcess()
    spans = window_spans(duration_of(path, media.probe), window, hop)
    predict = partial(answer_features, state, alpha=alpha, thresholds=thresholds)
    return _events(predict, reader, path, spans, media)


def _events(
    predict: Callable[[str, ClipFeatures], Answer],
    reader: ClipReader,
    path: Path,
    spans: list[tuple[float, float]],
    source: MediaSource,
) -> Iterator[Event]:
    wanted = reader.wanted
    middles = [(start + end) / 2 for start, end in spans]
    cuts = [0.0, *((a + b) / 2 for a, b in pairwise(middles)), spans[-1][1]]
    windows = source.read_windows(
        path,
        spans,
        samplings=wanted.samplings,
        sample_rate=wanted.sample_rate,
    )
    for number, found in enumerate(windows):
        event = partial(Event, start=cuts[number], end=cuts[number + 1])
        clip = Clip(clip_id="", path=path, label="?", split="test", start=found.start, end=found.end)
        try:
            features = reader.encoded(_read(clip, found))
            answer = predict(name_of(clip), features)
        except InputError as error:
            yield event(label=None, probability=0.0, in_distribution=None, notes=str(error))
            continue
        yield event(
            label=answer.label,
            probability=answer.probability,
            in_distribution=answer.in_distribution,
            notes=answer.notes,
            answer=answer,
        )


def _read(clip: Clip, window: ClipWindow) -> ReadClip:
    return ReadClip(
        clip=clip,
        frames=window.frames,
        also=window.also,
        sound=window.sound,
        reason="; ".join(window.problems),
        seconds=window.end - window.start,
    )


def joined(events: Iterable[Event]) -> Iterator[Event]:
    """Events with neighbors of the same label joined, as soon as the next one differs."""
    group: list[Event] = []
    for event in events:
        if group and _kind(event) != _kind(group[0]):
            yield _join(group)
            group = []
        group.append(event)
    if group:
        yield _join(group)


def _kind(event: Event) -> tuple[str | None, bool]:
    return event.label, event.in_distribution is False


def _join(group: list[Event]) -> Event:
    return Event(
        start=group[0].start,
        end=group[-1].end,
        label=group[0].label,
        probability=sum(event.probability for event in group) / len(group),
        in_distribution=group[0].in_distribution,
        notes="; ".join(dict.fromkeys(note for event in group for note in event.notes.split("; ") if note)),
        windows=len(group),
    )
