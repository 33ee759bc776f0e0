"""From a clip to what a model was trained on: the same reading, encoders and rounding as extraction.

F frames, H x W pixels, N samples of sound, T time slices, S spatial tokens, Da and Dv widths.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avcil.data.clips import Clip
from avcil.data.modality import Modality
from avcil.encoders.base import AudioEncoder, VisualEncoder
from avcil.encoders.parts import is_joint
from avcil.encoders.registry import from_fingerprint
from avcil.errors import AvcilError, InputError
from avcil.extraction.encoding import Encoders
from avcil.extraction.read_ahead import DecodeSpec, ReadClip, read_one
from avcil.features import StoredClip
from avcil.features.manifest import IMPORTED
from avcil.media.fit import fit_frames, fit_sound
from avcil.media.reader import MediaSource
from avcil.media.sound import SILENCE
from avcil.models import checks
from avcil.utils.prefetch import prefetch

READERS = 2
"""Clips that are read at once."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipArrays:
    """A clip as arrays, for callers that have no file."""

    frames: np.ndarray | None = None
    """(F, H, W, 3) uint8 RGB, evenly spaced over the clip; as many as there are."""
    sound: np.ndarray | None = None
    """(N,) float32 in [-1, 1], mono, of the whole clip."""
    sample_rate: int | None = None
    """Hertz of `sound`."""
    clip_id: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipFeatures:
    """One clip as a model sees and hears it; what its modality lacks, or the clip, is None."""

    audio: Tensor | None
    """(1, Da)"""
    visual: Tensor | None
    """(1, T, S, Dv)"""
    read: ReadClip | None = None
    """The frames and the sound that they were made from; None where features are all there is."""
    clip_id: str = ""
    notes: str = ""
    """What was odd about the clip, and what it lacks."""
    is_joint: bool = False
    """Whether each of the two was made of picture and sound, by a joint encoder."""


Source = str | Path | Clip | StoredClip | ClipArrays | ClipFeatures
"""What a recognizer can be asked about."""


def name_of(source: Source) -> str:
    """A clip's name for answers and reports: its path, or its id where it has no file."""
    if isinstance(source, str | Path):
        return str(source)
    return str(source.path) if isinstance(source, Clip | StoredClip) else source.clip_id


class ClipReader:
    """Reads clips the way the features of a model's training were made."""

    def __init__(self, description: Mapping[str, Any], *, modality: Modality) -> None:
        self.modality = modality
        self.encoders = _encoders(description, modality)
        self.stored_dtype = np.dtype(checks.choice(description, "dtype", ("float16", "float32")))
        self.wanted = self.encoders.wanted

    def features(
        self,
        source: Source,
        *,
        start: float | None = None,
        end: float | None = None,
        media: MediaSource | None = None,
    ) -> ClipFeatures:
        """Features of a clip or of the seconds [start, end] of it; `media` reads its file, by default this process.

        What it lacks is None and `notes` says so; InputError naming the clip if it has nothing that the model uses.
        """
        if isinstance(source, ClipFeatures):
            return source
        if isinstance(source, ClipArrays):
            return self.encoded(_fitted(source, self.wanted))
        return self.encoded(read_one(_clip(source, start, end), self.wanted, source=media))

    def stream(self, sources: Iterable[Source]) -> Iterator[ClipFeatures | AvcilError]:
        """Features of several clips in order, or the error that a clip gave; files are read ahead."""
        given: list[Source] = []

        def clips() -> Iterator[Clip]:
            for source in sources:
                given.append(source)
                if not isinstance(source, ClipArrays | ClipFeatures):
                    yield _clip(source, None, None)

        # features and arrays need no reading: they wait in `given` until the files before them are done
        read_file = partial(read_one, wanted=self.wanted)
        reading = prefetch(clips(), read_file, workers=READERS, depth=2 * READERS)
        for read in reading:
            while isinstance(given[0], ClipArrays | ClipFeatures):
                yield self._or_error(given.pop(0))
            given.pop(0)
            yield self._or_error(read)
        for source in given:
            yield self._or_error(source)

    def _or_error(self, source: Source | ReadClip) -> ClipFeatures | AvcilError:
        try:
            return self.encoded(source) if isinstance(source, ReadClip) else self.features(source)
        except AvcilError as error:
            return error

    def encoded(self, read: ReadClip) -> ClipFeatures:
        """Features of a clip that was read already.

        Raises:
            InputError: If it lacks all that the encoders take, or any of it if the encoder is joint.
        """
        lacks = read.lacks(self.wanted)
        is_joint = self.encoders.joint is not None
        if (read.frames is None and read.sound is None) or (lacks and is_joint):
            raise InputError(_cannot_be_encoded(read, lacks, is_joint=is_joint))
        arrays = self.encoders.encode_together([read])[0]
        notes = [read.reason] if read.reason else []
        notes += [f"no {name}" for name in lacks if not read.reason]
        return ClipFeatures(
            audio=self._rounded(arrays.get("audio")) if self.modality.has_audio else None,
            visual=self._rounded(arrays.get("visual")) if self.modality.has_visual else None,
            read=read,
            clip_id=read.clip.clip_id,
            notes="; ".join(notes),
            is_joint=is_joint,
        )

    def _rounded(self, values: np.ndarray | None) -> Tensor | None:
        """A batch of one, (1, ...), as the feature store would give it back."""
        if values is None:
            return None
        return torch.from_numpy(values[None].astype(self.stored_dtype).astype(np.float32))


def _cannot_be_encoded(read: ReadClip, lacks: list[str], *, is_joint: bool) -> str:
    """Why a clip that lacks a modality has no features."""
    reason = read.reason or f"it has no {' and no '.join(lacks)}"
    needs = f"; this recognizer needs its {' and '.join(lacks)}" if len(lacks) == 1 else ""
    if is_joint:
        needs = "; this recognizer's encoder takes picture and sound together and cannot do without either"
    return f"{read.clip.path}: {reason}{needs}"


def is_silent(features: ClipFeatures) -> bool:
    """Whether its sound track holds nothing but silence."""
    sound = None if features.read is None else features.read.sound
    return sound is not None and float(np.abs(sound).max(initial=0.0)) < SILENCE


def _clip(source: str | Path | Clip | StoredClip, start: float | None, end: float | None) -> Clip:
    if isinstance(source, str | Path):
        return Clip(clip_id=str(source), path=Path(source), label="?", split="test", start=start, end=end)
    begin, stop = (source.start if start is None else start), (source.end if end is None else end)
    return Clip(
        clip_id=source.clip_id,
        path=Path(source.path),
        label=source.label,
        split=source.split,
        start=begin,
        end=stop,
    )


def _fitted(arrays: ClipArrays, wanted: DecodeSpec) -> ReadClip:
    frames, sound = None, None
    also: tuple[np.ndarray, ...] = ()
    if wanted.frames is not None and arrays.frames is not None:
        frames, *others = (fit_frames(arrays.frames, s.frames, s.short_side) for s in wanted.samplings)
        also = tuple(others)
    if wanted.sample_rate is not None and arrays.sound is not None:
        if arrays.sample_rate is None:
            raise InputError("a clip's sound needs its sample_rate, in hertz")
        sound = fit_sound(arrays.sound, arrays.sample_rate, wanted.sample_rate)
    name = arrays.clip_id or "the clip given as arrays"
    clip = Clip(clip_id=arrays.clip_id, path=Path(name), label="?", split="test")
    return ReadClip(clip=clip, frames=frames, also=also, sound=sound)


def _encoders(description: Mapping[str, Any], modality: Modality) -> Encoders:
    """The encoders of a model's features, each built once.

    Raises:
        InputError: If the description is damaged, or the features were imported and have no encoder.
    """
    fingerprints = {part.value: _fingerprint(description, part.value) for part in modality.parts}
    joint = next(filter(is_joint, fingerprints.values()), None)
    if joint is None:
        built = {name: from_fingerprint(fingerprint) for name, fingerprint in fingerprints.items()}
    elif all(fingerprint == joint for fingerprint in fingerprints.values()):
        built = dict.fromkeys(("audio", "visual"), from_fingerprint(joint))
    else:
        raise InputError(
            "the model's audio and visual features are of different encoders, one of them a joint one. Take the model "
            "again from where it came"
        )
    for name in fingerprints:
        _check_shape(description, name, built[name])
    visual, audio = built.get("visual"), built.get("audio")
    if isinstance(visual, AudioEncoder) or isinstance(audio, VisualEncoder):
        raise InputError(
            "the model's description has an audio encoder for frames, or a visual encoder for sound. Take the model "
            "again from where it came"
        )
    return Encoders(visual=visual, audio=audio)


def _fingerprint(description: Mapping[str, Any], part: str) -> dict[str, Any]:
    """That of the encoder of a model's "audio" or "visual" features; features that were imported have none."""
    fingerprint = checks.entry(checks.entry(description, part), "encoder")
    if not isinstance(fingerprint, dict):
        raise InputError(f"the encoder of {part} is {fingerprint!r:.60}; it must be a JSON object")
    name = str(fingerprint.get("name"))
    if name.startswith(IMPORTED):
        raise InputError(
            f"this model learned from features that were released as files ({name}); they cannot be made again "
            "from a media file, so it cannot be asked about one. Its accuracies are in its run directory; for "
            "files, train on a store that avcil extract made"
        )
    return fingerprint


def _check_shape(description: Mapping[str, Any], part: str, encoder: Any) -> None:
    """Refuse a model of features of another shape than its encoder makes."""
    shape = checks.entry(description[part], "shape")
    made = [*(encoder.token_grid if part == "visual" else ()), encoder.width]
    if made != shape:
        raise InputError(
            f"the model was taught with {part} features of shape {shape!r:.60}; encoder {encoder.name!r} makes {made}. "
            "Take the model again from where it came"
        )
