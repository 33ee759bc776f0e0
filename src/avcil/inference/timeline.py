"""The timeline of a long video: predictions of overlapping windows, computed while the video is decoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby, pairwise
from pathlib import Path

from avcil.data.clips import Clip
from avcil.errors import InputError
from avcil.extraction.read_ahead import ReadClip
from avcil.inference.clip_features import ClipReader, name_of
from avcil.inference.prediction import Predict, Prediction
from avcil.media.probe import probe
from avcil.media.reader import MediaReader
from avcil.media.windows import ClipWindow, duration_of, read_windows, window_spans


@dataclass(frozen=True, kw_only=True)
class TimelineEvent:
    """A part of a video and its prediction. The events of a video have no gaps and no overlap."""

    start: float
    """In seconds."""
    end: float
    """In seconds."""
    label: str | None
    """None if the part cannot be predicted."""
    probability: float
    """Of `label`; the mean over joined windows."""
    in_distribution: bool | None
    """False if possibly of an unknown class; None if the model has no test for unknown classes."""
    notes: str
    windows: int = 1
    """Number of windows."""
    prediction: Prediction | None = None
    """The prediction of the window; None for joined windows and without a prediction."""


def timeline(
    predict: Predict,
    reader: ClipReader,
    path: Path | str,
    *,
    window: float = 2.0,
    hop: float = 0.5,
    source: MediaReader | None = None,
) -> Iterator[TimelineEvent]:
    """Yield an event for each window of `window` seconds, one every `hop` seconds.

    An event begins halfway between the middle of the previous window and that of its own, and ends halfway between the
    middle of its own window and that of the next. Arguments as for `Recognizer.timeline`.

    Raises:
        InputError: The file cannot be read.
    """
    path = Path(path)
    spans = window_spans(duration_of(path, source.probe if source else probe), window, hop)
    spec = reader.decode_spec
    read = source.read_windows if source else read_windows
    windows = read(path, spans, samplings=spec.samplings, sample_rate=spec.sample_rate)
    return _events(predict, reader, path, spans, windows)


def _events(
    predict: Predict,
    reader: ClipReader,
    path: Path,
    spans: list[tuple[float, float]],
    windows: Iterable[ClipWindow],
) -> Iterator[TimelineEvent]:
    middles = [(start + end) / 2 for start, end in spans]
    cuts = [0.0, *((a + b) / 2 for a, b in pairwise(middles)), spans[-1][1]]
    for number, decoded in enumerate(windows):
        event = partial(TimelineEvent, start=cuts[number], end=cuts[number + 1])
        clip = Clip(clip_id="", path=path, label="?", split="test", start=decoded.start, end=decoded.end)
        try:
            features = reader.encoded(_read(clip, decoded))
            prediction = predict(name_of(clip), features)
        except InputError as error:
            yield event(label=None, probability=0.0, in_distribution=None, notes=str(error))
            continue
        yield event(
            label=prediction.label,
            probability=prediction.probability,
            in_distribution=prediction.in_distribution,
            notes=prediction.notes,
            prediction=prediction,
        )


def _read(clip: Clip, window: ClipWindow) -> ReadClip:
    return ReadClip(
        clip=clip,
        frames=window.frames,
        extra_frames=window.extra_frames,
        waveform=window.waveform,
        reason="; ".join(window.problems),
        seconds=window.end - window.start,
    )


def joined(events: Iterable[TimelineEvent]) -> Iterator[TimelineEvent]:
    """Join consecutive events with the same label."""
    for _, group in groupby(events, lambda event: (event.label, event.in_distribution is False)):
        yield _join(list(group))


def _join(group: list[TimelineEvent]) -> TimelineEvent:
    return TimelineEvent(
        start=group[0].start,
        end=group[-1].end,
        label=group[0].label,
        probability=sum(event.probability for event in group) / len(group),
        in_distribution=group[0].in_distribution,
        notes="; ".join(dict.fromkeys(note for event in group for note in event.notes.split("; ") if note)),
        windows=len(group),
    )
