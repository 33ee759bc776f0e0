"""Compute the features of a clip for a model, with the decoding, encoders and rounding of its training features.

F frames, H x W pixels, N audio samples, T time slices, S spatial tokens, Da and Dv widths.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from avcil.media.audio import SILENCE
from avcil.media.fit import fit_frames, fit_waveform
from avcil.media.reader import MediaReader
from avcil.utils import checks
from avcil.utils.prefetch import prefetch

_READERS = 2
"""Number of clips that are read in parallel."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipArrays:
    """A decoded clip."""

    frames: np.ndarray | None = None
    """(F, H, W, 3) uint8 RGB, evenly spaced over the clip."""
    waveform: np.ndarray | None = None
    """Mono waveform (N,) of the whole clip, float32 in [-1, 1]."""
    sample_rate: int | None = None
    """Of `waveform`, in hertz."""
    clip_id: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipFeatures:
    """The features of a clip; those that the clip lacks or the model does not use are None."""

    audio: Tensor | None
    """(1, Da)"""
    visual: Tensor | None
    """(1, T, S, Dv)"""
    read: ReadClip | None = None
    """The decoded frames and audio; None if only features are available."""
    clip_id: str = ""
    notes: str = ""
    """Problems of the file and missing modalities."""
    is_joint: bool = False
    """Whether a joint encoder computed them, each from both modalities."""


Source = str | Path | Clip | StoredClip | ClipArrays | ClipFeatures
"""A clip that a recognizer can predict."""


def name_of(source: Source) -> str:
    """The name of a clip in messages: its path, or its id if it has no file."""
    if isinstance(source, str | Path):
        return str(source)
    return str(source.path) if isinstance(source, Clip | StoredClip) else source.clip_id


def concatenated(rows: Sequence[Tensor | None]) -> Tensor | None:
    """Features (1, ...) of n clips as (n, ...), with zeros for clips that have none; None if no clip has any."""
    present = next((row for row in rows if row is not None), None)
    if present is None:
        return None
    return torch.cat([torch.zeros_like(present) if row is None else row for row in rows])


class ClipReader:
    """Computes features of clips in the same way as the training features of a model.

    Args:
        description: The model's description, with the encoders and the sampling.
        modality: The model's modality.

    Raises:
        InputError: The description is damaged, or the encoders cannot be built.
    """

    def __init__(self, description: Mapping[str, Any], *, modality: Modality) -> None:
        self.modality = modality
        self.encoders = _encoders(description, modality)
        self.stored_dtype = np.dtype(checks.choice(description, "dtype", ("float16", "float32")))
        self.decode_spec = self.encoders.decode_spec

    def features(
        self,
        source: Source,
        *,
        start: float | None = None,
        end: float | None = None,
        media: MediaReader | None = None,
    ) -> ClipFeatures:
        """Compute the features of a clip.

        Args:
            source: The clip.
            start: Start of a part of the clip, in seconds.
            end: End of the part.
            media: Decodes the file, for example a worker process; by default this process.

        Raises:
            InputError: The clip cannot be read, or has no modality that the model uses.
        """
        if isinstance(source, ClipFeatures):
            return source
        if isinstance(source, ClipArrays):
            return self.encoded(_fitted(source, self.decode_spec))
        return self.encoded(read_one(_clip(source, start, end), self.decode_spec, reader=media))

    def stream(self, sources: Iterable[Source]) -> Iterator[ClipFeatures | AvcilError]:
        """Yield the features of each clip in order, or the error of a clip; files are read ahead."""
        pending: list[Source] = []

        def clips() -> Iterator[Clip]:
            for source in sources:
                pending.append(source)
                if not isinstance(source, ClipArrays | ClipFeatures):
                    yield _clip(source, None, None)

        # Features and arrays are not read: they stay in `pending` until the files before them are read.
        read_file = partial(read_one, spec=self.decode_spec)
        for read in prefetch(clips(), read_file, workers=_READERS, depth=2 * _READERS):
            while isinstance(pending[0], ClipArrays | ClipFeatures):
                yield self._or_error(pending.pop(0))
            pending.pop(0)
            yield self._or_error(read)
        for source in pending:
            yield self._or_error(source)

    def _or_error(self, source: Source | ReadClip) -> ClipFeatures | AvcilError:
        try:
            return self.encoded(source) if isinstance(source, ReadClip) else self.features(source)
        except AvcilError as error:
            return error

    def encoded(self, read: ReadClip) -> ClipFeatures:
        """Encode a decoded clip.

        Raises:
            InputError: The clip has no modality that the encoders use, or lacks one that a joint encoder needs.
        """
        lacks = read.missing_modalities(self.decode_spec)
        is_joint = self.encoders.joint is not None
        if (read.frames is None and read.waveform is None) or (lacks and is_joint):
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
        """A batch of one clip, (1, ...), rounded to the dtype of the feature store."""
        if values is None:
            return None
        return torch.from_numpy(values[None].astype(self.stored_dtype).astype(np.float32))


def _cannot_be_encoded(read: ReadClip, lacks: list[str], *, is_joint: bool) -> str:
    """Why a clip without a modality has no features."""
    reason = read.reason or f"it has no {' and no '.join(lacks)}"
    needs = f"; this model needs {' and '.join(lacks)}" if len(lacks) == 1 else ""
    if is_joint:
        needs = "; the joint encoder of this model needs both audio and frames"
    return f"{read.clip.path}: {reason}{needs}"


def is_silent(features: ClipFeatures) -> bool:
    """Whether the audio of the clip is silent."""
    waveform = None if features.read is None else features.read.waveform
    return waveform is not None and float(np.abs(waveform).max(initial=0.0)) < SILENCE


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


def _fitted(arrays: ClipArrays, spec: DecodeSpec) -> ReadClip:
    frames, waveform = None, None
    extra_frames: tuple[np.ndarray, ...] = ()
    if spec.frames is not None and arrays.frames is not None:
        frames, *others = (fit_frames(arrays.frames, s.frames, s.short_side) for s in spec.samplings)
        extra_frames = tuple(others)
    if spec.sample_rate is not None and arrays.waveform is not None:
        if arrays.sample_rate is None:
            raise InputError("a clip with a waveform needs sample_rate, in hertz")
        waveform = fit_waveform(arrays.waveform, arrays.sample_rate, spec.sample_rate)
    name = arrays.clip_id or "the clip given as arrays"
    clip = Clip(clip_id=arrays.clip_id, path=Path(name), label="?", split="test")
    return ReadClip(clip=clip, frames=frames, extra_frames=extra_frames, waveform=waveform)


def _encoders(description: Mapping[str, Any], modality: Modality) -> Encoders:
    """Build the encoders of a model's features.

    Raises:
        InputError: The description is damaged, or the features were imported and have no encoder.
    """
    fingerprints = {part.value: _fingerprint(description, part.value) for part in modality.parts}
    joint = next(filter(is_joint, fingerprints.values()), None)
    if joint is None:
        built = {name: from_fingerprint(fingerprint) for name, fingerprint in fingerprints.items()}
    elif all(fingerprint == joint for fingerprint in fingerprints.values()):
        built = dict.fromkeys(("audio", "visual"), from_fingerprint(joint))
    else:
        raise InputError(
            "the model's audio and visual features have different encoders, one of which is joint. Copy the model "
            "again from its source"
        )
    for name in fingerprints:
        _check_shape(description, name, built[name])
    visual, audio = built.get("visual"), built.get("audio")
    if isinstance(visual, AudioEncoder) or isinstance(audio, VisualEncoder):
        raise InputError(
            "the model's description has an audio encoder for frames, or a visual encoder for audio. Copy the model "
            "again from its source"
        )
    return Encoders(visual=visual, audio=audio)


def _fingerprint(description: Mapping[str, Any], part: str) -> dict[str, Any]:
    """The fingerprint of the encoder of "audio" or "visual" features."""
    fingerprint = checks.typed(checks.entry(description, part), "encoder", dict)
    name = str(fingerprint.get("name"))
    if name.startswith(IMPORTED):
        raise InputError(
            f"this model was trained on imported features ({name}), which cannot be computed from media files, so it "
            "cannot predict them. To predict media files, train on a feature store of avcil extract"
        )
    return fingerprint


def _check_shape(description: Mapping[str, Any], part: str, encoder: Any) -> None:
    shape = checks.entry(description[part], "shape")
    computed = [*(encoder.token_grid if part == "visual" else ()), encoder.width]
    if computed != shape:
        raise InputError(
            f"the model was trained on {part} features of shape {shape!r:.60}, but the encoder {encoder.name!r} "
            f"computes {computed}. Copy the model again from its source"
        )
