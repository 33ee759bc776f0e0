"""PE-AV as a joint encoder: the outputs of its audio-video encoder, and predictions from clips."""

from __future__ import annotations

import csv
import json
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parent))

from tiny_pe_av import save_tiny_pe_av

from avcil.data.clips import Clip
from avcil.data.modality import Modality
from avcil.encoders.registry import from_fingerprint, joint_encoder
from avcil.errors import InputError
from avcil.extraction.encoding import EncoderOptions
from avcil.extraction.extract import extract
from avcil.features import FeatureStore
from avcil.inference import Recognizer
from avcil.inference.clip_features import ClipArrays, ClipReader
from avcil.media import write_video

FRAMES = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
SOUND = np.random.default_rng(1).uniform(-0.3, 0.3, 720).astype(np.float32)
"""90 hops of the small codec."""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folder and model."""
    folder = tmp_path_factory.mktemp("pe-av")
    return folder, save_tiny_pe_av(folder)


def fused(model, frames, waveform):
    """States (L, D) and state of the class token (D,) of the model of transformers."""
    pixels = torch.from_numpy(frames / 127.5 - 1).float().permute(0, 3, 1, 2)[None]
    with torch.no_grad():
        given = model.audio_video_encoder(
            input_values=torch.from_numpy(waveform)[None, None], pixel_values_videos=pixels
        )
    return given.last_hidden_state[0].numpy(), given.pooler_output[0].numpy()


def test_tokens_and_vector_equal_the_model(saved):
    """Tokens are means of states over time slices, the vector is the class token, in any batch."""
    folder, model = saved
    encoder = joint_encoder(f"hf,frames=4:{folder}")
    assert (encoder.token_grid, encoder.spatial_grid, encoder.width) == ((4, 1), (1, 1), 24)
    short = SOUND[:16]  # 2 hops, fewer than slices: some slices share a state
    tokens, vectors = encoder.encode([FRAMES, FRAMES], [SOUND, short])
    assert (tokens.shape, vectors.shape) == ((2, 4, 1, 24), (2, 24))
    states, whole = fused(model, FRAMES, SOUND)
    slices = ((0, 23), (22, 45), (45, 68), (67, 90))  # 22.5 states each
    expected = [states[start:stop].mean(axis=0) for start, stop in slices]
    np.testing.assert_allclose(tokens[0, :, 0], expected, atol=1e-5)
    np.testing.assert_allclose(vectors[0], whole, atol=1e-5)
    states, whole = fused(model, FRAMES, short)
    np.testing.assert_allclose(tokens[1, :, 0], states[[0, 0, 1, 1]], atol=1e-5)
    np.testing.assert_allclose(vectors[1], whole, atol=1e-5)
    alone = encoder.encode([FRAMES], [short])
    assert np.array_equal(alone[0][0], tokens[1])
    assert np.array_equal(alone[1][0], vectors[1])


def test_outputs_depend_on_both_modalities(saved):
    """Other frames or another audio change both outputs by more than float32 rounding (1e-8)."""
    encoder = joint_encoder(f"hf,frames=4:{saved[0]}")
    tokens, vectors = encoder.encode([FRAMES, 255 - FRAMES, FRAMES], [SOUND, SOUND, SOUND[::-1]])
    for other in (1, 2):
        assert np.abs(tokens[other] - tokens[0]).max() > 1e-5
        assert np.abs(vectors[other] - vectors[0]).max() > 1e-5


def test_weights_under_either_name(saved, tmp_path):
    """A file may name the encoders of single modalities as parts of the audio-video encoder."""
    folder, _ = saved
    renamed = {
        re.sub(r"^(audio|video)_model\.\1_encoder", r"audio_video_encoder.embedder.\1_encoder", name): tensor
        for name, tensor in load_file(folder / "model.safetensors").items()
    }
    assert any(name.startswith("audio_video_encoder.embedder.video_encoder") for name in renamed)
    save_file(renamed, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    ours, other = joint_encoder(f"hf:{folder}").fingerprint(), joint_encoder(f"hf:{tmp_path}").fingerprint()
    assert ours["weights"] == other["weights"]
    fingerprint = json.loads(json.dumps(ours))
    assert from_fingerprint(fingerprint).fingerprint() == fingerprint
    changed = load_file(tmp_path / "model.safetensors")
    changed["audio_video_encoder.output.weight"] += 1
    save_file(changed, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="made with another encoder 'hf-joint'"):
        from_fingerprint(other)


def write_clip(path: Path, number: int, take: int, *, waveform: bool = True) -> None:
    """A clip of class `number`, which determines the color of a square and the frequency of a tone."""
    frames = np.full((10, 32, 40, 3), 30, np.uint8)
    for time, frame in enumerate(frames):
        frame[8:24, 2 * time + take : 2 * time + take + 12] = (80 * number, 200, 255 - 80 * number)
    tone = 0.3 * np.sin(np.arange(8_000) * (0.1 + 0.2 * number) + take).astype(np.float32)
    write_video(path, list(frames), 20.0, **({"waveform": tone, "sample_rate": 16_000} if waveform else {}))


@pytest.fixture(scope="module")
def clip_list(tmp_path_factory) -> Path:
    """Three classes of three training clips and two test clips, and one clip without audio."""
    folder = tmp_path_factory.mktemp("clips")
    rows = []
    for number, label in enumerate(("cat", "dog", "owl")):
        for take, split in enumerate(("train", "train", "train", "test", "test")):
            write_clip(folder / f"{label}{take}.mp4", number, take)
            rows.append((f"{label}{take}.mp4", label, split))
    write_clip(folder / "mute.mp4", 0, 0, waveform=False)
    rows.append(("mute.mp4", "cat", "train"))
    with (folder / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split"), *rows])
    return folder / "clips.csv"


@pytest.fixture(scope="module")
def run(avcil, saved, clip_list, tmp_path_factory) -> Path:
    """The folder of a store `features` and a run `blade`, created by commands."""
    folder = tmp_path_factory.mktemp("run")
    store = folder / "features"
    assert avcil("extract", clip_list, "--out", store, "--joint", f"hf:{saved[0]}", "--workers", 1) == 0
    assert avcil("train", store, "--classes-per-step", 3, "--out", folder / "blade") == 0
    return folder


def test_store_of_a_joint_encoder(run, saved):
    """Both modalities have one fingerprint; the clip without audio is listed with the reason."""
    store = FeatureStore(run / "features")
    assert (store.visual_shape, store.audio_width, len(store.clips)) == ((8, 1, 24), 24, 15)
    assert store.manifest.visual.encoder == store.manifest.audio.encoder
    assert store.manifest.sampling == {"frames": 8, "short_side": 32, "sample_rate": 48_000}
    with (run / "features" / "failures.csv").open() as file:
        (failure,) = csv.DictReader(file)
    assert Path(failure["path"]).name == "mute.mp4"
    assert failure["reason"] == "no audio track"
    reader = ClipReader(store.manifest.to_dict(), modality=Modality.AUDIO_VISUAL)
    features = reader.features(store.clips[0].path)
    assert np.array_equal(features.visual[0], store.visual([0])[0].astype(np.float32))
    assert np.array_equal(features.audio[0], store.audio([0])[0].astype(np.float32))


def test_predictions_from_clips(avcil, run, clip_list, tmp_path, capsys):
    """Complete clips are predicted, a clip without audio is an error; a recognizer learns a class and explains."""
    folder = clip_list.parent
    capsys.readouterr()
    names = ("cat4", "owl4", "mute")
    code = avcil("predict", run / "blade", *(folder / f"{name}.mp4" for name in names), "--json")
    first, second, mute = json.loads(capsys.readouterr().out)
    assert (code, first["label"], second["label"]) == (2, "cat", "owl")
    assert "the joint encoder of this model needs both audio and frames" in mute["error"]

    recognizer = Recognizer.load(run / "blade")
    for take in range(3):
        write_clip(tmp_path / f"{take}.mp4", 3, take)
    assert recognizer.learn([tmp_path / "0.mp4", tmp_path / "1.mp4"], ["yak", "yak"]).new == {"yak": 2}
    assert recognizer.predict(tmp_path / "2.mp4") == "yak"
    explanation = recognizer.explain(tmp_path / "2.mp4")
    assert explanation.spatial.shape == (8, 1, 1)
    assert (explanation.alone, explanation.contributions) == ({}, {})  # neither modality can be told apart
    with pytest.raises(InputError, match=r"no video.*; the joint encoder of this model needs both"):
        recognizer.predict(ClipArrays(waveform=SOUND, sample_rate=48_000, clip_id="only sound"))


def test_silence_is_not_missing_audio(run, tmp_path):
    """Silence is encoded together with the frames: the prediction uses all features, not "frames alone"."""
    recognizer = Recognizer.load(run / "blade")
    path = tmp_path / "silent.mp4"
    write_video(path, [FRAMES[0]] * 10, 20.0, waveform=np.zeros(8_000, np.float32), sample_rate=16_000)
    result = recognizer.predict_clip(path)
    assert "alone" not in result.notes
    features = recognizer.reader.features(path)
    assert features.audio is not None
    assert features.is_joint


def test_model_of_one_array_needs_both_modalities(run, clip_list):
    """The audio vector also depends on the frames."""
    reader = ClipReader(FeatureStore(run / "features").manifest.to_dict(), modality=Modality.AUDIO)
    features = reader.features(clip_list.parent / "dog4.mp4")
    assert features.visual is None
    assert features.audio.shape == (1, 24)
    with pytest.raises(InputError, match="needs both audio and frames"):
        reader.features(clip_list.parent / "mute.mp4")


def test_unsupported_options_are_rejected(avcil, saved, clip_list, tmp_path, capsys):
    """Unsupported options of a joint encoder are errors before files are written."""
    hf = f"hf:{saved[0]}"
    clips = [Clip(clip_id="mute", path=clip_list.parent / "mute.mp4", label="cat", split="train")]
    out = tmp_path / "f"
    capsys.readouterr()
    assert avcil("extract", clip_list, "--out", out, "--joint", hf, "--missing", "keep") == 2
    assert "a clip that lacks one has no features to keep" in capsys.readouterr().err
    assert avcil("extract", clip_list, "--out", out, "--joint", hf, "--audio", "log-mel") == 2
    assert "Use either --joint" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(InputError, match=r"Use --joint, without"):
        extract(clips, out, visual=joint_encoder(hf))
    with pytest.raises(InputError, match="hf-joint has none"):
        extract(clips, out, joint=hf, audio_tokens=True)
    assert not out.exists()
    with pytest.raises(
        InputError, match=r"no audio track\. Stopped, since --missing is fail.*--missing skip$"
    ):
        extract(clips, tmp_path / "stopped", joint=hf, missing="fail", workers=1)


def test_names_of_joint_encoders(saved, tmp_path):
    """`hf:` with a model of the family PE-AV; other families and combinations are rejected."""
    with pytest.raises(InputError, match="cannot be combined"):
        joint_encoder(f"hf:{saved[0]}+hf:{saved[0]}")
    with pytest.raises(InputError, match="unknown joint encoder 'log-mel'"):
        joint_encoder("log-mel")
    with pytest.raises(InputError, match="frames must be 1 to 1024"):
        joint_encoder(f"hf,frames=0:{saved[0]}")
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(InputError, match=r"PE-AV\), not vit\. Use .* as --visual or --audio"):
        joint_encoder(f"hf:{tmp_path}")
    assert EncoderOptions(joint=f"hf:{saved[0]}").build().joint.frames == 8
    assert not EncoderOptions(joint=joint_encoder(f"hf:{saved[0]}")).are_names


def test_mixed_joint_and_single_encoders_are_rejected(run):
    """A saved model cannot have a joint encoder for one modality and another encoder for the other."""
    manifest = FeatureStore(run / "features").manifest
    other = replace(manifest.audio, encoder={**manifest.audio.encoder, "weights": "0"})
    with pytest.raises(InputError, match="different encoders, one of which is joint"):
        ClipReader(replace(manifest, audio=other).to_dict(), modality=Modality.AUDIO_VISUAL)


@pytest.mark.parametrize("kind", ["joint", "audio"])
def test_error_names_the_encoder_option(kind, run, saved, tmp_path):
    """The message has the option and the encoder in the syntax of the command."""
    store = run / "features"
    clip = FeatureStore(store).clips[0]
    clips = [Clip(clip_id="a", path=Path(clip.path), label="cat", split="train")]
    if kind == "audio":
        store = tmp_path / "f"
        extract(clips, store, visual="none", audio=f"hf:{saved[0]}", workers=1)
    with pytest.raises(InputError) as raised:
        extract(clips, store, visual="none" if kind == "audio" else None)
    options = shlex.split(re.search(r"use its encoders?: (.*)$", str(raised.value))[1])
    assert options[0] == f"--{kind}"
    given = {kind: options[1]} if kind == "joint" else {"visual": "none", kind: options[1]}
    assert EncoderOptions(**given).build().manifest(missing="skip", dtype="float16").identity() == (
        FeatureStore(store).manifest.identity()
    )
