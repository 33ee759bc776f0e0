"""The encoders of an extraction: a visual and an audio encoder, or a joint one.

Shapes: F frames, H x W pixels, N samples or audio tokens, T time slices, S spatial tokens per slice, D width.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from avcil.data.clips import Clip
from avcil.encoders.base import AudioEncoder, Encoder, Frames, JointEncoder, VisualEncoder
from avcil.errors import InputError
from avcil.extraction.read_ahead import DecodeSpec, ReadClip
from avcil.features.manifest import FeatureSpec, Manifest

LIBRARIES = ("avcil", "av", "numpy", "torch")
Arrays = dict[str, np.ndarray]
"""Arrays of a clip by name: "visual" (T, S, D), "audio" (D,), "audio_tokens" (N, D), without missing ones."""
BATCH_SIZES = (4, 8, 16, 32, 64, 128, 256)
"""Candidates for `--batch-size auto`."""
MIN_SPEEDUP = 1.05
"""A larger batch must be this much faster."""
FRAME_SIDE, AUDIO_SECONDS = 256, 10.0
"""Size of the random clips on which batch sizes are measured."""


@dataclass(frozen=True, kw_only=True)
class EncoderNames:
    """Names of encoders, device and precision, from which another machine can build them."""

    visual: str | None = None
    audio: str | None = None
    joint: str | None = None
    device: str | None = None
    precision: str | None = None
    audio_tokens: bool = False

    @classmethod
    def of(
        cls,
        visual: str | VisualEncoder | None,
        audio: str | AudioEncoder | None,
        joint: str | JointEncoder | None,
        **options: Any,
    ) -> EncoderNames | None:
        """None if one of them is an encoder object."""
        names = {"visual": visual, "audio": audio, "joint": joint}
        if not all(isinstance(name, str | None) for name in names.values()):
            return None
        return cls(**names, **options)  # type: ignore[arg-type]

    def build(self) -> Encoders:
        """Build the encoders and load their weights."""
        return Encoders.of(**vars(self))


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
        self.place(device, precision)

    @classmethod
    def of(
        cls,
        visual: str | VisualEncoder | None = None,
        audio: str | AudioEncoder | None = None,
        joint: str | JointEncoder | None = None,
        **options: Any,
    ) -> Encoders:
        """Build from names or encoders.

        Args:
            visual: Name or encoder; "none" for no encoder, None for the default one.
            audio: Like `visual`.
            joint: Name or encoder, instead of the other two.
            options: Options of the constructor.
        """
        from avcil.encoders import registry

        if joint is not None:
            if visual is not None or audio is not None:
                raise InputError(
                    "a joint encoder computes visual and audio features. Use either --joint, or --visual and --audio"
                )
            built = registry.joint_encoder(joint) if isinstance(joint, str) else joint
            return cls(visual=built, audio=built, **options)
        visual = registry.DEFAULT_VISUAL if visual is None else visual
        audio = registry.DEFAULT_AUDIO if audio is None else audio
        if isinstance(visual, str):
            visual = None if visual == "none" else registry.visual_encoder(visual)
        if isinstance(audio, str):
            audio = None if audio == "none" else registry.audio_encoder(audio)
        return cls(visual=visual, audio=audio, **options)

    def _each(self) -> list[Encoder]:
        """The distinct encoders."""
        pair = (self.visual, self.audio if self.joint is None else None)
        return [encoder for encoder in pair if encoder is not None]

    def place(self, device: str | None, precision: str | None) -> None:
        """Move the encoders that have a model to a device.

        Args:
            device: See `avcil.encoders.device`; None does not move them.
            precision: See `device`.

        Raises:
            InputError: The device does not exist, or no encoder can use it.
        """
        if device is None and precision is None:
            return
        movable: list[Any] = [encoder for encoder in self._each() if encoder.runs_on_gpu]
        for encoder in movable:
            encoder.place(device, precision)
        if not movable and (device not in (None, "cpu") or precision not in (None, "float32")):
            names = " and ".join(encoder.name for encoder in self._each())
            raise InputError(
                f"{names} only run on the CPU in float32. Omit --device and --precision, or choose encoders that "
                "have a model (docs/encoders.md)"
            )

    @property
    def can_use_gpu(self) -> bool:
        """Whether any encoder can use a GPU."""
        return any(encoder.runs_on_gpu for encoder in self._each())

    @property
    def precision(self) -> str:
        """ "bfloat16" if any encoder uses it, else "float32"."""
        return (
            "bfloat16" if "bfloat16" in {getattr(e, "precision", None) for e in self._each()} else "float32"
        )

    def manifest(self, *, missing: str, dtype: str) -> Manifest:
        """The manifest of a store made with these encoders."""
        sampling: dict[str, Any] = {}
        if self.visual is not None:
            sampling |= {"frames": self.decode_spec.frames, "short_side": self.decode_spec.short_side}
        if self.decode_spec.also:
            sampling["also"] = [asdict(also) for also in self.decode_spec.also]
        if self.audio is not None:
            sampling["sample_rate"] = self.decode_spec.sample_rate
        if self.precision != "float32":
            sampling["precision"] = self.precision
        visual, audio = self.visual, self.audio
        libraries = {name for encoder in self._each() for name in encoder.libraries}
        return Manifest(
            visual=None if visual is None else FeatureSpec.of(visual, (*visual.token_grid, visual.width)),
            audio=None if audio is None else FeatureSpec.of(audio, (audio.width,)),
            audio_tokens=self._audio_tokens(),
            dtype=dtype,
            sampling=sampling,
            missing=missing,
            libraries={name: version(name) for name in (*LIBRARIES, *sorted(libraries - {*LIBRARIES}))},
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
        for encode, given in self._tasks(batch):
            present = [place for place, value in enumerate(given) if value is not None]
            if present:
                for name, values in encode([given[place] for place in present]).items():
                    for place, value in zip(present, values, strict=True):
                        arrays[place][name] = value
        return arrays

    def _tasks(self, batch: Sequence[ReadClip]) -> list[tuple[Callable[[list[Any]], Arrays], list[Any]]]:
        """The functions that encode, and their input from each clip; None if the clip lacks it."""
        if self.joint is not None:
            pairs = [
                None if read.lacks(self.decode_spec) else (read.frame_sets, read.waveform) for read in batch
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

    def best_batch_size(self) -> int:
        """The smallest of `BATCH_SIZES` whose successor is not faster by `MIN_SPEEDUP`, measured on random clips.

        The measurement ends at a size that needs too much memory.
        """
        best, rate = BATCH_SIZES[0], 0.0
        for size in BATCH_SIZES:
            batch = [self._random_clip(number) for number in range(size)]
            try:
                self.encode_together(batch[:1])
                began = time.perf_counter()
                self.encode_together(batch)
                reached = size / (time.perf_counter() - began)
            except (MemoryError, RuntimeError) as error:
                if isinstance(error, RuntimeError) and "out of memory" not in str(error):
                    raise
                break
            if reached < MIN_SPEEDUP * rate:
                break
            best, rate = size, reached
        return best

    def _random_clip(self, number: int) -> ReadClip:
        rng = np.random.default_rng(number)
        frame_sets, waveform = [], None
        for sampling in self.decode_spec.samplings:
            side = sampling.short_side or FRAME_SIDE
            frame_sets.append(rng.integers(0, 256, (sampling.frames, side, side * 4 // 3, 3), dtype=np.uint8))
        if self.decode_spec.sample_rate is not None:
            waveform = rng.uniform(-0.1, 0.1, int(AUDIO_SECONDS * self.decode_spec.sample_rate)).astype(
                np.float32
            )
        frames, also = (frame_sets[0], tuple(frame_sets[1:])) if frame_sets else (None, ())
        return ReadClip(clip=NOISE, frames=frames, also=also, waveform=waveform)


NOISE = Clip(clip_id="noise", path="noise", label="noise", split="train")  # type: ignore[arg-type]
