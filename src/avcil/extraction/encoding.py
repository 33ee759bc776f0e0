"""The encoders of an extraction: a visual and an audio encoder, or a joint one.

Shapes: F frames, H x W pixels, N samples or audio tokens, T time slices, S spatial tokens per slice, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, TypeVar

import numpy as np

from avcil.encoders.base import AudioEncoder, Encoder, Frames, JointEncoder, VisualEncoder
from avcil.errors import InputError
from avcil.extraction.read_ahead import DecodeSpec, ReadClip
from avcil.features.feature_spec import FeatureSpec
from avcil.features.manifest import Manifest

_LIBRARIES = ("avcil", "av", "numpy", "torch")
Built = TypeVar("Built", VisualEncoder, AudioEncoder)
Arrays = dict[str, np.ndarray]
"""Arrays of a clip by name: "visual" (T, S, D), "audio" (D,), "audio_tokens" (N, D), without missing ones."""


@dataclass(frozen=True, kw_only=True)
class EncoderOptions:
    """Which encoders to use, and how. If they are given by name, another machine can build them from this."""

    visual: str | VisualEncoder | None = None
    """Name or encoder; "none" for no encoder, None for the default one."""
    audio: str | AudioEncoder | None = None
    """Like `visual`."""
    joint: str | JointEncoder | None = None
    """Name or encoder, instead of the other two."""
    device: str | None = None
    """See `avcil.encoders.device`; None does not move encoders."""
    precision: str | None = None
    """See `avcil.encoders.device`."""
    audio_tokens: bool = False
    """Whether to compute audio tokens."""

    @property
    def are_names(self) -> bool:
        """Whether all encoders are given by name."""
        return all(isinstance(given, str | None) for given in (self.visual, self.audio, self.joint))

    def build(self) -> Encoders:
        """Build the encoders and load their weights; InputError for an unknown name or incompatible options."""
        visual, audio = self._encoders()
        return Encoders(
            visual=visual,
            audio=audio,
            device=self.device,
            precision=self.precision,
            audio_tokens=self.audio_tokens,
        )

    def _encoders(self) -> tuple[VisualEncoder | JointEncoder | None, AudioEncoder | JointEncoder | None]:
        from avcil.encoders import registry

        if self.joint is not None:
            if self.visual is not None or self.audio is not None:
                raise InputError(
                    "a joint encoder computes visual and audio features. Use either --joint, or --visual and --audio"
                )
            joint = registry.joint_encoder(self.joint) if isinstance(self.joint, str) else self.joint
            return joint, joint
        visual = registry.DEFAULT_VISUAL if self.visual is None else self.visual
        audio = registry.DEFAULT_AUDIO if self.audio is None else self.audio
        return _built(visual, registry.visual_encoder), _built(audio, registry.audio_encoder)


def _built(given: str | Built, build: Callable[[str], Built]) -> Built | None:
    """The encoder, built if it is given by name; None for the name "none"."""
    if not isinstance(given, str):
        return given
    return None if given == "none" else build(given)


class Encoders:
    """The visual and audio encoders of an extraction."""

    def __init__(
        self,
        *,
        visual: VisualEncoder | JointEncoder | None,
        audio: AudioEncoder | JointEncoder | None,
        device: str | None = None,
        precision: str | None = None,
        audio_tokens: bool = False,
    ) -> None:
        """
        Args:
            visual: The visual encoder; None stores no visual features. A joint encoder is also given as `audio`.
            audio: The audio encoder, or None.
            device: See `avcil.encoders.device`; None does not move encoders.
            precision: See `device`.
            audio_tokens: Whether to compute audio tokens.

        Raises:
            InputError: The device does not exist or no encoder can use it, the audio encoder has no tokens, or a joint
                encoder is given for one modality only.
        """
        self.joint = next((given for given in (visual, audio) if isinstance(given, JointEncoder)), None)
        if self.joint is not None and visual is not audio:
            raise InputError(
                f"{self.joint.name} computes visual and audio features together. Use --joint, without --visual "
                "and --audio"
            )
        self.visual, self.audio, self.audio_tokens = visual, audio, audio_tokens
        if audio_tokens and (audio is None or audio.token_count is None):
            named = "there is no audio encoder" if audio is None else f"{audio.name} has none"
            raise InputError(
                f"audio tokens are requested, but {named}; choose yamnet, audiomae or an hf: model of the family "
                "AST, alone"
            )
        self.decode_spec = DecodeSpec.of(visual, audio)
        self.to(device, precision)

    def _distinct(self) -> list[Encoder]:
        pair = (self.visual, self.audio if self.joint is None else None)
        return [encoder for encoder in pair if encoder is not None]

    def to(self, device: str | None, precision: str | None) -> None:
        """Move the encoders that have a model to a device.

        Args:
            device: See `avcil.encoders.device`; None does not move them.
            precision: See `device`.

        Raises:
            InputError: The device does not exist, or no encoder can use it.
        """
        if device is None and precision is None:
            return
        movable: list[Any] = [encoder for encoder in self._distinct() if encoder.runs_on_gpu]
        for encoder in movable:
            encoder.to(device, precision)
        if not movable and (device not in (None, "cpu") or precision not in (None, "float32")):
            names = " and ".join(encoder.name for encoder in self._distinct())
            raise InputError(
                f"{names} only run on the CPU in float32. Omit --device and --precision, or choose encoders that "
                "have a model (docs/encoders.md)"
            )

    @property
    def can_use_gpu(self) -> bool:
        """Whether any encoder can use a GPU."""
        return any(encoder.runs_on_gpu for encoder in self._distinct())

    @property
    def precision(self) -> str:
        """ "bfloat16" if any encoder uses it, else "float32"."""
        return (
            "bfloat16"
            if "bfloat16" in {getattr(e, "precision", None) for e in self._distinct()}
            else "float32"
        )

    def manifest(self, *, missing: str, dtype: str) -> Manifest:
        """The manifest of a store made with these encoders."""
        sampling: dict[str, Any] = {}
        if self.visual is not None:
            sampling |= {"frames": self.decode_spec.frames, "short_side": self.decode_spec.short_side}
        if self.decode_spec.extra_samplings:
            sampling["also"] = [asdict(extra) for extra in self.decode_spec.extra_samplings]
        if self.audio is not None:
            sampling["sample_rate"] = self.decode_spec.sample_rate
        if self.precision != "float32":
            sampling["precision"] = self.precision
        visual, audio = self.visual, self.audio
        libraries = {name for encoder in self._distinct() for name in encoder.libraries}
        return Manifest(
            visual=None if visual is None else FeatureSpec.of(visual, (*visual.token_grid, visual.width)),
            audio=None if audio is None else FeatureSpec.of(audio, (audio.width,)),
            audio_tokens=self._audio_tokens(),
            dtype=dtype,
            sampling=sampling,
            missing=missing,
            libraries={name: version(name) for name in (*_LIBRARIES, *sorted(libraries - {*_LIBRARIES}))},
        )

    def encode(self, batch: Sequence[ReadClip]) -> list[Arrays | str]:
        """The arrays of each clip, or the reason why it cannot be encoded; a failed batch is retried clip by clip."""
        try:
            return list(self.encode_together(batch))
        except Exception as error:  # an encoder can fail for a single clip; only that clip is listed
            if len(batch) == 1:
                return [f"it cannot be encoded: {type(error).__name__}: {error}"]
            return [arrays for read in batch for arrays in self.encode([read])]

    def encode_together(self, batch: Sequence[ReadClip]) -> list[Arrays]:
        """The arrays of each clip, without those of a missing modality; with a joint encoder, none if one is
        missing."""
        arrays: list[Arrays] = [{} for _ in batch]
        for encode, inputs in self._tasks(batch):
            present = [position for position, value in enumerate(inputs) if value is not None]
            if present:
                for name, values in encode([inputs[position] for position in present]).items():
                    for position, value in zip(present, values, strict=True):
                        arrays[position][name] = value
        return arrays

    def _tasks(self, batch: Sequence[ReadClip]) -> list[tuple[Callable[[list[Any]], Arrays], list[Any]]]:
        """The functions that encode, and their input from each clip; None if the clip lacks it."""
        if self.joint is not None:
            pairs = [
                None if read.missing_modalities(self.decode_spec) else (read.frame_sets, read.waveform)
                for read in batch
            ]
            return [(self._encode_both, pairs)]
        return [
            (self._encode_visual, [read.frame_sets for read in batch]),
            (self._encode_audio, [read.waveform for read in batch]),
        ]

    def _encode_both(self, pairs: list[tuple[Frames, np.ndarray]]) -> Arrays:
        assert self.joint is not None
        tokens, vectors = self.joint.encode(
            [frames for frames, _ in pairs], [waveform for _, waveform in pairs]
        )
        return {"visual": tokens, "audio": vectors}

    def _audio_tokens(self) -> FeatureSpec | None:
        audio = self.audio
        if not self.audio_tokens or audio is None or audio.token_count is None:
            return None
        return FeatureSpec.of(audio, (audio.token_count, audio.width))

    def _encode_visual(self, frames: list[Frames]) -> Arrays:
        if self.visual is None:
            return {}
        assert not isinstance(self.visual, JointEncoder)
        return {"visual": self.visual.encode(frames)}

    def _encode_audio(self, waveforms: list[np.ndarray]) -> Arrays:
        if self.audio is None:
            return {}
        assert not isinstance(self.audio, JointEncoder)
        if self.audio_tokens:
            vectors, tokens = self.audio.encode_with_tokens(waveforms)
            return {"audio": vectors, "audio_tokens": tokens}
        return {"audio": self.audio.encode(waveforms)}
