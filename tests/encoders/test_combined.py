"""Combined encoders: several encoders of one modality used as one."""

from __future__ import annotations

import json
import re
from dataclasses import asdict

import numpy as np
import pytest

from avcil.data.clips import Clip
from avcil.encoders.base import AudioEncoder, VisualEncoder
from avcil.encoders.combined import CombinedAudio, CombinedVisual
from avcil.encoders.parts import MAX_PARTS, EncoderPart, parts_of
from avcil.encoders.registry import (
    DEFAULT_AUDIO,
    DEFAULT_VISUAL,
    audio_encoder,
    from_fingerprint,
    visual_encoder,
)
from avcil.errors import InputError
from avcil.extraction.encoding import EncoderOptions
from avcil.extraction.extract import extract
from avcil.extraction.read_ahead import DecodeSpec
from avcil.features import FeatureStore, FeatureWriter
from avcil.media import read_clip, write_video
from avcil.utils.frame_sampling import FrameSampling


class Positions(VisualEncoder):
    """Two features: row and column of each token; the third is given."""

    name = "positions"
    width = 2

    def __init__(self, slices: int, side: int, *, frames: int = 4, short_side: int = 16) -> None:
        self.token_grid = (slices, side * side)
        self.frames, self.short_side = frames, short_side

    def encode(self, clips):
        side = self.spatial_grid[0]
        rows, columns = np.divmod(np.arange(side * side), side)
        tokens = (np.stack([rows, columns], axis=1) + 0.5) / side
        return np.broadcast_to(tokens, (len(clips), *self.token_grid, 2)).astype(np.float32)

    def fingerprint(self):
        return {"name": self.name, "version": 1, "options": {"source": str(self.token_grid)}, "weights": ""}


class Loudness(AudioEncoder):
    """One feature, at a given sample rate."""

    name = "loudness"
    width = 1

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate

    def encode(self, clips):
        return np.array([[np.abs(clip).max()] for clip in clips], np.float32)

    def fingerprint(self):
        return {"name": self.name, "version": 1, "options": {}, "weights": ""}


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Two seconds with a moving object."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    frames = [np.roll(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8), 2 * i, axis=1) for i in range(50)]
    waveform = 0.3 * np.sin(2 * np.pi * 440 * np.arange(32_000) / 16_000)
    write_video(path, frames, 25.0, waveform=waveform.astype(np.float32), sample_rate=16_000)
    return path


def read(path, encoder):
    expected = asdict(DecodeSpec.of(encoder, None))
    del expected["sample_rate"]
    extra = tuple(FrameSampling(**one) for one in expected.pop("extra_samplings"))
    return read_clip(path, **expected, extra_samplings=extra)


def test_parts_equal_separate_encoders(film):
    """The frames of another part, more and larger, do not change the frames and tokens of a part."""
    alone, other = visual_encoder("patch-motion"), Positions(4, 5, frames=7, short_side=40)
    both = CombinedVisual([alone, other])
    media, media_alone = read(film, both), read(film, alone)
    np.testing.assert_array_equal(media.frames, media_alone.frames)
    np.testing.assert_array_equal(media.extra_frames[0], read(film, other).frames)
    tokens = both.encode([(media.frames, *media.extra_frames)])
    assert tokens.shape == (1, 4, 25, 130)
    np.testing.assert_array_equal(tokens[..., :128], alone.encode([media_alone.frames]))


def test_all_frames_are_decoded_once(film, monkeypatch):
    """A second pass over the file would take as long as the first."""
    from avcil.media import frames

    opened = []
    original = frames.TrackReader.__init__
    monkeypatch.setattr(
        frames.TrackReader, "__init__", lambda self, *a, **k: opened.append(1) or original(self, *a, **k)
    )
    read(film, CombinedVisual([visual_encoder("patch-motion"), Positions(4, 5)]))
    assert len(opened) == 1


def test_equal_samplings_share_frames():
    """Parts with the same sampling use the same frames."""
    both = CombinedVisual([Positions(2, 4), Positions(4, 4)])
    assert len(both.samplings) == 1
    assert both.encode([np.zeros((4, 16, 16, 3), np.uint8)]).shape == (1, 2, 16, 4)


def test_tokens_are_pooled_to_the_coarser_grid():
    """The mean over areas, including fractions of tokens: positions keep their meaning."""
    both = CombinedVisual([Positions(4, 5), Positions(2, 3)])
    assert (both.token_grid, both.spatial_grid) == ((2, 9), (3, 3))
    tokens = both.encode([np.zeros((4, 16, 16, 3), np.uint8)])[0]
    centers = (np.arange(3) + 0.5) / 3
    np.testing.assert_allclose(tokens[0, :, 2].reshape(3, 3)[:, 0], centers, atol=1e-6)
    # each of three areas covers one and two thirds of the five tokens
    np.testing.assert_allclose(
        tokens[1, :, 0].reshape(3, 3)[:, 0], [(0.1 + 0.3 * 2 / 3) / (5 / 3), 0.5, 0.82], atol=1e-6
    )


def test_incompatible_time_slices_are_rejected():
    """Four slices cannot be pooled to three."""
    with pytest.raises(InputError, match="4 time slices, which is not a multiple of the 3"):
        CombinedVisual([Positions(4, 2), Positions(3, 2)])


def test_sample_rates_must_be_equal():
    """The audio is read once, at one sample rate."""
    with pytest.raises(InputError, match=r"different sample rates \(log-mel 16000 Hz, loudness 48000 Hz\)"):
        CombinedAudio([audio_encoder("log-mel"), Loudness(48_000)])


def test_audio_vectors_are_concatenated():
    """In the order of the name."""
    one = audio_encoder("log-mel")
    both = CombinedAudio([one, Loudness(16_000)])
    waveform = np.linspace(-0.5, 0.5, 16_000, dtype=np.float32)
    vector = both.encode([waveform])[0]
    assert (both.name, both.width, vector.shape) == ("log-mel+loudness", 149, (149,))
    np.testing.assert_array_equal(vector[:148], one.encode([waveform])[0])
    spread = np.sqrt(np.mean(np.square(one.scale)))
    assert vector[148] == pytest.approx(
        0.5 * spread
    )  # without constants, a standard deviation of 1 is assumed


class Shipped(Loudness):
    """An encoder with feature constants."""

    name = "shipped"

    def __init__(self) -> None:
        super().__init__(16_000)
        self.center, self.scale = np.array([0.25], np.float32), np.array([0.5], np.float32)


def test_constants_of_a_combination():
    """Parts after the first one are centered and scaled; mean and standard deviation match the features."""
    both = CombinedAudio([Loudness(16_000), Shipped()])
    assert both.encode([np.array([0.5, 0.75], np.float32)]).tolist() == [[0.75, 1.0]]
    assert (both.center.tolist(), both.scale.tolist()) == ([0.0, 0.0], [1.0, 1.0])
    other = Shipped()
    other.scale = np.array([1.0], np.float32)
    assert CombinedAudio([Loudness(16_000), other]).fingerprint() != both.fingerprint()


def test_options_in_names():
    """Errors in the options of a part name this part."""
    with pytest.raises(InputError, match="twice"):
        visual_encoder("patch-motion+patch-motion,cells=3")
    assert visual_encoder("patch-motion,cells=3").token_grid == (4, 9)
    with pytest.raises(InputError, match="OPTION=VALUE"):
        visual_encoder("patch-motion,cells")
    with pytest.raises(InputError, match="did you mean cells"):
        visual_encoder("patch-motion,cels=3")
    with pytest.raises(InputError, match="did you mean patch-motion"):
        visual_encoder("patch-motion+patch-moton")
    with pytest.raises(InputError, match="NAME,OPTION=VALUE"):
        visual_encoder("patch-motion+videomae-base", cells=3)


def test_plus_in_a_source(tmp_path):
    """Names of folders may contain a plus sign."""
    with pytest.raises(InputError, match=r"a\+b"):
        visual_encoder(f"patch-motion+hf:{tmp_path}/a+b")


def combination():
    encoder = CombinedVisual([Positions(4, 5), Positions(2, 5)])
    return json.loads(json.dumps(encoder.fingerprint()))


def test_fingerprint_contains_the_parts():
    """The parts of a store's features are known without building an encoder."""
    fingerprint = combination()
    assert fingerprint["name"] == "positions+positions"
    assert parts_of(fingerprint, 4) == (
        EncoderPart(name="positions:(4, 25)", start=0, stop=2),
        EncoderPart(name="positions:(2, 25)", start=2, stop=4),
    )
    with pytest.raises(InputError, match="have 4 features, not 5"):
        parts_of(fingerprint, 5)


@pytest.mark.parametrize(
    "change",
    [
        {"parts": []},
        {"parts": 3},
        {"parts": [combination(), combination()]},
        {"parts": [{"name": "log-mel"}] * (MAX_PARTS + 1), "widths": [1] * (MAX_PARTS + 1)},
        {"widths": [2]},
        {"widths": [2, -2]},
        {"widths": [2, True]},
    ],
)
def test_invalid_fingerprints_are_rejected(change):
    """Nested, too long or incomplete combinations are not built."""
    with pytest.raises(InputError, match="damaged"):
        from_fingerprint(combination() | change)


def test_combination_of_both_modalities_is_rejected():
    """Audio and visual features are separate arrays of a store."""
    parts = [visual_encoder("patch-motion").fingerprint(), audio_encoder("log-mel").fingerprint()]
    with pytest.raises(InputError, match="cannot have both"):
        from_fingerprint(combination() | {"parts": parts})


def test_combinations_are_flattened():
    """A combination of combinations is one combination of all parts."""
    inner = CombinedVisual([Positions(4, 5), Positions(2, 5)])
    assert [part.width for part in CombinedVisual([inner, Positions(1, 5)]).parts] == [2, 2, 2]


def test_store_of_the_default_encoders(film, tmp_path):
    """Its manifest names the default encoders, and its size is at most twice that with the encoders without weights."""
    extract([Clip(clip_id="film", path=film, label="a", split="train")], tmp_path / "f", workers=1)
    store = FeatureStore(tmp_path / "f")
    assert store.parts("visual") == (
        EncoderPart(name="patch-motion", start=0, stop=128),
        EncoderPart(name="efficientnet-lite0", start=128, stop=256),
    )
    assert store.parts("audio") == (
        EncoderPart(name="log-mel", start=0, stop=148),
        EncoderPart(name="yamnet", start=148, stop=276),
    )
    assert (store.visual_shape, store.audio_width) == ((4, 25, 256), 276)
    assert 4 * 25 * 256 + 276 <= 2 * (4 * 25 * 128 + 148)
    for modality in (store.manifest.visual, store.manifest.audio):
        encoder = from_fingerprint(dict(modality.encoder))
        assert encoder.fingerprint() == modality.encoder
        for part in encoder.parts:
            assert not np.array_equal(part.scale, np.ones(part.width)), f"{part.name} has no constants"


def test_store_of_the_former_defaults(tmp_path):
    """The error names the options for adding clips; the same command with them succeeds."""
    former = (
        EncoderOptions(visual="patch-motion", audio="log-mel")
        .build()
        .manifest(missing="skip", dtype="float16")
    )
    FeatureWriter(tmp_path, former).close()
    default = (
        EncoderOptions(visual=DEFAULT_VISUAL, audio=DEFAULT_AUDIO)
        .build()
        .manifest(missing="skip", dtype="float16")
    )
    with pytest.raises(InputError) as raised:
        FeatureWriter(tmp_path, default)
    named = re.search(r"use its encoders: --visual (\S+) --audio (\S+)$", str(raised.value))
    assert named
    FeatureWriter(
        tmp_path,
        EncoderOptions(visual=named[1], audio=named[2]).build().manifest(missing="skip", dtype="float16"),
    ).close()
