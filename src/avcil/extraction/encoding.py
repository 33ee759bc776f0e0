"""The encoders of an extraction, a visual and an audio one or a joint one: built from names, put on a device, asked
for batches.

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
from avcil.features.manifest import Manifest, Modality

LIBRARIES = ("avcil", "av", "numpy", "torch")
Arrays = dict[str, np.ndarray]
"""A clip's arrays by modality: "visual" (T, S, D), "audio" (D,), "audio_tokens" (N, D); one that it lacks is absent."""
BATCH_SIZES = (4, 8, 16, 32, 64, 128, 256)
"""What `--batch-size auto` tries."""
WORTH = 1.05
"""A larger batch must be so much faster to be taken."""
PICTURE_SIDE, SOUND_SECONDS = 256, 10.0
"""Of the made-up clips that batch sizes are tried on."""


@dataclass(frozen=True, kw_only=True)
class EncoderNames:
    """What encoders to build, and where they run; plain text, so that another machine can build them too."""

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
        """None if one of them is an encoder, which has no name that builds it."""
        names = {"visual": visual, "audio": audio, "joint": joint}
        if not all(isinstance(name, str | None) for name in names.values()):
            return None
        return cls(**names, **options)  # type: ignore[arg-type]

    def build(self) -> Encoders:
        """The encoders, weights loaded."""
        return Encoders.of(**vars(self))


class Encoders:
    """The encoders at work."""

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
            visual: What makes the visual features; None stores none. A joint encoder is given as `audio` too.
            audio: What makes the audio features.
            device: As `avcil.encoders.device` takes it; None leaves encoders where they stand.
            precision: As `device`.
            audio_tokens: Give these beside the audio vector.

        Raises:
            InputError: If the device is not there, or it is named and no encoder could use it; if the audio encoder
                has no tokens to give; if a joint encoder is given for one modality alone.
        """
        self.joint = next((given for given in (visual, audio) if isinstance(given, JointEncoder)), None)
        if self.joint is not None and visual is not audio:
            raise InputError(
                f"{self.joint.name} makes visual and audio features together. Give it as joint (--joint), without "
                "visual and audio"
            )
        self.visual, self.audio, self.audio_tokens = visual, audio, audio_tokens
        if audio_tokens and (audio is None or audio.token_count is None):
            named = "there is no audio encoder" if audio is None else f"{audio.name} has none"
            raise InputError(
                f"audio tokens were asked for, but {named}; choose yamnet, audiomae or an hf: model of the family "
                "AST, alone"
            )
        self.wanted = DecodeSpec.of(visual, audio)
        self.place(device, precision)

    @classmethod
    def of(
        cls,
        visual: str | VisualEncoder | None = None,
        audio: str | AudioEncoder | None = None,
        joint: str | JointEncoder | None = None,
        **options: Any,
    ) -> Encoders:
        """From names or encoders.

        Args:
            visual: "none" is no encoder, None the default one.
            audio: As `visual`.
            joint: Instead of the other two.
            options: Those of the constructor.
        """
        from avcil.encoders import registry

        if joint is not None:
            if visual is not None or audio is not None:
                raise InputError(
                    "a joint encoder makes the visual and the audio features. Leave out visual and audio (--visual, "
                    "--audio), or joint (--joint)"
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
        """The encoders, a joint one once."""
        pair = (self.visual, self.audio if self.joint is None else None)
        return [encoder for encoder in pair if encoder is not None]

    def place(self, device: str | None, precision: str | None) -> None:
        """Move those that have a model; names as `avcil.encoders.device` takes them, None changes nothing.

        :raises InputError: if the device is not there, or it is named and no encoder could use it.
        """
        if device is None and precision is None:
            return
        movable: list[Any] = [encoder for encoder in self._each() if encoder.runs_on_gpu]
        for encoder in movable:
            encoder.place(device, precision)
        if not movable and (device not in (None, "cpu") or precision not in (None, "float32")):
            names = " and ".join(encoder.name for encoder in self._each())
            raise InputError(
                f"{names} run on the processor in float32 alone. Leave --device and --precision out, or choose "
                "encoders that have a model (docs/encoders.md)"
            )

    @property
    def can_use_gpu(self) -> bool:
        """Whether any encoder has a model that a GPU can run."""
        return any(encoder.runs_on_gpu for encoder in self._each())

    @property
    def precision(self) -> str:
        """ "bfloat16" if any encoder computes in it."""
        return (
            "bfloat16" if "bfloat16" in {getattr(e, "precision", None) for e in self._each()} else "float32"
        )

    def manifest(self, *, missing: str, dtype: str) -> Manifest:
        """The manifest of a store made with these encoders."""
        sampling: dict[str, Any] = {}
        if self.visual is not None:
            sampling |= {"frames": self.wanted.frames, "short_side": self.wanted.short_side}
        if self.wanted.also:
            sampling["also"] = [asdict(also) for also in self.wanted.also]
        if self.audio is not None:
            sampling["sample_rate"] = self.wanted.sample_rate
        if self.precision != "float32":
            sampling["precision"] = self.precision
        visual, audio = self.visual, self.audio
        libraries = {name for encoder in self._each() for name in encoder.libraries}
        return Manifest(
            visual=None if visual is None else Modality.of(visual, (*visual.token_grid, visual.width)),
            audio=None if audio is None else Modality.of(audio, (audio.width,)),
            audio_tokens=self._audio_tokens(),
            dtype=dtype,
            sampling=sampling,
            missing=missing,
            libraries={name: version(name) for name in (*LIBRARIES, *sorted(libraries - {*LIBRARIES}))},
        )

    def encode(self, batch: Sequence[ReadClip]) -> list[Arrays | str]:
        """Each clip's arrays, or why it could not be encoded: a batch that fails is tried clip by clip."""
        try:
            return list(self.encode_together(batch))
        except Exception as error:  # an encoder can fail on one odd clip; only that one is listed
            if len(batch) == 1:
                return [f"it cannot be encoded: {type(error).__name__}: {error}"]
            return [arrays for read in batch for arrays in self.encode([read])]

    def encode_together(self, batch: Sequence[ReadClip]) -> list[Arrays]:
        """Each clip's arrays, without those of a modality that it lacks; none if the encoder is joint."""
        arrays: list[Arrays] = [{} for _ in batch]
        for encode, given in self._tasks(batch):
            present = [place for place, value in enumerate(given) if value is not None]
            if present:
                for name, values in encode([given[place] for place in present]).items():
                    for place, value in zip(present, values, strict=True):
                        arrays[place][name] = value
        return arrays

    def _tasks(self, batch: Sequence[ReadClip]) -> list[tuple[Callable[[list[Any]], Arrays], list[Any]]]:
        """What encodes, and what it is given of each clip; None where the clip lacks it."""
        if self.joint is not None:
            pairs = [None if read.lacks(self.wanted) else (read.pictures, read.sound) for read in batch]
            return [(self._see_and_hear, pairs)]
        return [
            (self._see, [read.pictures for read in batch]),
            (self._hear, [read.sound for read in batch]),
        ]

    def _see_and_hear(self, pairs: list[tuple[Frames, np.ndarray]]) -> Arrays:
        assert self.joint is not None
        tokens, vectors = self.joint.encode([frames for frames, _ in pairs], [sound for _, sound in pairs])
        return {"visual": tokens, "audio": vectors}

    def _audio_tokens(self) -> Modality | None:
        audio = self.audio
        if not self.audio_tokens or audio is None or audio.token_count is None:
            return None
        return Modality.of(audio, (audio.token_count, audio.width))

    def _see(self, frames: list[Frames]) -> Arrays:
        if self.visual is None:
            return {}
        assert not isinstance(self.visual, JointEncoder)
        return {"visual": self.visual.encode(frames)}

    def _hear(self, sounds: list[np.ndarray]) -> Arrays:
        if self.audio is None:
            return {}
        assert not isinstance(self.audio, JointEncoder)
        if self.audio_tokens:
            vectors, tokens = self.audio.encode_with_tokens(sounds)
            return {"audio": vectors, "audio_tokens": tokens}
        return {"audio": self.audio.encode(sounds)}

    def best_batch_size(self) -> int:
        """The smallest size of `BATCH_SIZES` than which no next one is `WORTH` its memory, tried on noise.

        A size for which memory does not suffice ends the trial.
        """
        best, rate = BATCH_SIZES[0], 0.0
        for size in BATCH_SIZES:
            batch = [self._made_up(number) for number in range(size)]
            try:
                self.encode_together(batch[:1])
                began = time.perf_counter()
                self.encode_together(batch)
                reached = size / (time.perf_counter() - began)
            except (MemoryError, RuntimeError) as error:
                if isinstance(error, RuntimeError) and "out of memory" not in str(error):
                    raise
                break
            if reached < WORTH * rate:
                break
            best, rate = size, reached
        return best

    def _made_up(self, number: int) -> ReadClip:
        rng = np.random.default_rng(number)
        pictures, sound = [], None
        for sampling in self.wanted.samplings:
            side = sampling.short_side or PICTURE_SIDE
            pictures.append(rng.integers(0, 256, (sampling.frames, side, side * 4 // 3, 3), dtype=np.uint8))
        if self.wanted.sample_rate is not None:
            sound = rng.uniform(-0.1, 0.1, int(SOUND_SECONDS * self.wanted.sample_rate)).astype(np.float32)
        frames, also = (pictures[0], tuple(pictures[1:])) if pictures else (None, ())
        return ReadClip(clip=NOISE, frames=frames, also=also, sound=sound)


NOISE = Clip(clip_id="noise", path="noise", label="noise", split="train")  # type: ignore[arg-type]
