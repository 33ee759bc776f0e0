"""PE-AV of Hugging Face as a joint encoder: the states of its audio-video encoder.

Shapes: F frames, H x W pixels, P x P pixels of the model, N audio samples, L hops of the audio codec, T = F time
slices, D width.

    frames  -> video encoder -> F states, each repeated to the hops nearest in time: L states
    audio   -> audio encoder -> L states
    both, concatenated       -> layers with attention over a class token and the L hops -> L fused states, and one
                                of the class token

Visual tokens: the mean of the fused states in each of T equal slices of time; a state at a border is in both slices.
Audio vector: the state of the class token, the embedding of the whole clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from avcil.encoders.base import JointEncoder, check_waveform
from avcil.encoders.device import inference
from avcil.encoders.hugging_face.audio_encoder import audio_settings
from avcil.encoders.hugging_face.audio_families import audio_family
from avcil.encoders.hugging_face.loading import (
    HuggingFaceModel,
    Source,
    load_config,
    load_settings,
    load_transformers_model,
)
from avcil.encoders.hugging_face.visual_encoder import check_frame_count, check_frames, model_pixels
from avcil.encoders.hugging_face.visual_families import vision_family
from avcil.encoders.info import EncoderInfo
from avcil.errors import InputError

_FAMILY = "pe_audio_video"
_WEIGHT_NAMES = {
    rf"^{kind}_model\.{kind}_encoder\.": f"audio_video_encoder.embedder.{kind}_encoder."
    for kind in ("audio", "video")
}
"""The encoders of single modalities are also parts of the audio-video encoder; a file can contain either name."""


class HuggingFaceJoint(HuggingFaceModel, JointEncoder):
    """`hf:NAME_OR_FOLDER` of the family PE-AV; preprocessing as in the visual and the
    audio encoder of the same model."""

    name: str = "hf-joint"
    info: ClassVar[EncoderInfo] = EncoderInfo(
        license="of the model",
        purpose="PE-AV: frames and audio in one network (--joint)",
        extra="encoders",
        needs_source=True,
    )

    def __init__(self, *, source: str = "", frames: int = 8, device: str | None = None) -> None:
        """
        Args:
            source: The hub name (with @REVISION, if wanted) or the local folder.
            frames: F, frames per clip, at the centers of equal slices.
            device: "cpu", "cuda", "cuda:1"; None is a GPU if there is one. It is not part of the fingerprint. On
                a GPU, matrix products are computed in bfloat16.

        Raises:
            InputError: The model belongs to another family, or cannot be loaded.
        """
        whole, self.source = load_config(Source.of(source))
        self.model_type: str = whole.model_type
        if self.model_type != _FAMILY:
            raise InputError(
                f"a joint encoder is a model of the family {_FAMILY} (PE-AV), not {self.model_type}. Use {source} as "
                "--visual or --audio"
            )
        vision, audio = vision_family(_FAMILY), audio_family(_FAMILY)
        video_config = vision.config(whole, load_settings(self.source, "config.json") or {})
        config = whole.audio_video_config
        self.frames = check_frame_count(frames)
        self.token_grid = (frames, 1)
        self.width = int(config.hidden_size)
        self._pixels = model_pixels(self.source, vision, video_config)
        self.short_side = self._pixels.short_side
        self._settings = audio_settings(self.source, audio)
        self.sample_rate = int(self._settings["sampling_rate"])
        self._prepare = audio.preparation(self._settings, audio.config(whole))
        self.options = {"source": self._fingerprint_source(source), "frames": frames}
        self._model = load_transformers_model(
            self.source, "PeAudioVideoEncoder", config, key_mapping=_WEIGHT_NAMES
        )
        self.to(device)

    def encode(
        self, clips: Sequence[np.ndarray], waveforms: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Encode clips one by one, since the audio differs in length.

        Args:
            clips: The frames of B clips, each uint8 RGB (F, H, W, 3); sizes may differ.
            waveforms: The waveforms of the clips, each float32 (N,) in [-1, 1]; lengths may differ.

        Returns:
            Visual tokens (B, T, 1, D) and audio vectors (B, D), float32.
        """
        check_frames(clips, self.frames, self.name)
        tokens = np.zeros((len(clips), *self.token_grid, self.width), np.float32)
        vectors = np.zeros((len(clips), self.width), np.float32)
        for number, (frames, waveform) in enumerate(zip(clips, waveforms, strict=True)):
            states, whole = self._states(frames, waveform)
            tokens[number, :, 0] = functional.adaptive_avg_pool1d(states.T, self.frames).T.cpu().numpy()
            vectors[number] = whole.cpu().numpy()
        return tokens, vectors

    def _states(self, frames: np.ndarray, waveform: np.ndarray) -> tuple[Tensor, Tensor]:
        """The fused states (L, D) and that of the class token (D,) of a clip."""
        images = self._pixels.batch([frames], self.name).to(self.device, non_blocking=True)
        prepared = self._prepare(check_waveform(waveform, f"hf:{self.source.location}")).astype(np.float32)
        inputs = torch.from_numpy(prepared)[None].to(self.device)
        with inference(self.device, self.precision):
            pixels = self._pixels.normalized(images)  # (1, F, 3, P, P)
            given = self._model(input_values=inputs, pixel_values_videos=pixels)
            return given.last_hidden_state[0].float(), given.pooler_output[0].float()

    def _preprocessing_fingerprint(self) -> dict[str, Any]:
        return {
            "frames": {**self._pixels.to_dict(), "frame_choice": self.frame_choice},
            "sound": {**self._settings},
            "tokens": "the mean of the fused states in equal slices of time; the state of the class token",
        }
