"""From videos to a feature store with VideoMAE and AudioMAE by name, and from the store to the encoders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from avcil.data.clips import Clip
from avcil.data.modality import Modality
from avcil.encoders.audio_vit import AudioViT
from avcil.errors import InputError
from avcil.extraction.extract import extract
from avcil.features import FeatureStore
from avcil.features.show import summarize
from avcil.features.verify import verify
from avcil.inference.clip_features import ClipReader
from avcil.media import read_clip, write_video


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    """Three small videos with audio, of different sizes and lengths, and one without audio."""
    folder, made = tmp_path_factory.mktemp("clips"), []
    for number, (height, width, seconds) in enumerate(
        [(40, 60, 1.0), (64, 48, 2.0), (48, 48, 1.5), (48, 48, 1.0)]
    ):
        rng = np.random.default_rng(number)
        frames = rng.integers(0, 256, (round(10 * seconds), height, width, 3), dtype=np.uint8)
        waveform = rng.uniform(-0.3, 0.3, round(16_000 * seconds)).astype(np.float32)
        audible = {"waveform": waveform, "sample_rate": 16_000} if number < 3 else {}
        path = folder / f"{number}.mp4"
        write_video(path, frames, 10, **audible)
        made.append(Clip(clip_id=str(number), path=path, label="ab"[number % 2], split="train"))
    return made


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small AudioMAE in the format of its authors."""
    torch.manual_seed(0)
    model = AudioViT(width=64, depth=1, hidden=64)
    torch.nn.init.normal_(model.pos_embed, std=0.5)
    path = tmp_path_factory.mktemp("weights") / "pretrained.pth"
    torch.save({"model": model.state_dict()}, path)
    return path


@pytest.mark.parametrize("variant", ["", "@av-cil-script"])
def test_extract_and_rebuild_encoders(
    variant: str, clips: list[Clip], checkpoint: Path, videomae_folder: Path, tmp_path: Path
) -> None:
    """The store has the outputs and names of the encoders, and a recognizer can rebuild them."""
    visual, audio = f"videomae-base{variant}:{videomae_folder}", f"audiomae{variant}:{checkpoint}"
    report = extract(clips, tmp_path / "f", visual=visual, audio=audio, batch_size=2, workers=1)
    assert (report.stored, [failure.clip_id for failure in report.failed]) == (3, ["3"])
    store = FeatureStore(tmp_path / "f")
    assert store.visual([0, 1, 2]).shape == (3, 2, 4, 24)
    assert store.audio([0, 1, 2]).shape == (3, 64)
    assert store.manifest.libraries["transformers"]
    again = extract(clips, tmp_path / "f", visual=visual, audio=audio, batch_size=2, workers=1)
    assert again.new == 0

    reader = ClipReader(store.manifest.to_dict(), modality=Modality.AUDIO_VISUAL)
    for row, clip in enumerate(store.clips):
        features = reader.features(clip.path)
        np.testing.assert_allclose(features.visual[0], store.visual([row])[0], atol=2e-3)
        np.testing.assert_allclose(features.audio[0], store.audio([row])[0], atol=5e-3)


def test_frame_selection_of_the_script_variant(
    clips: list[Clip], videomae_folder: Path, tmp_path: Path
) -> None:
    """The frame selection of the script gives other tokens than evenly spaced frames."""
    stores = []
    for variant in ("", "@av-cil-script-8fps"):
        out = tmp_path / f"f{variant}"
        extract(clips, out, visual=f"videomae-base{variant}:{videomae_folder}", audio="none", workers=1)
        stores.append(FeatureStore(out))
    reader = ClipReader(stores[1].manifest.to_dict(), modality=Modality.VISUAL)
    frames = read_clip(clips[1].path, frames=4, short_side=32, frame_choice="av-cil-script-8fps").frames
    tokens = reader.encoders.visual.encode([frames])[0]
    np.testing.assert_allclose(tokens, stores[1].visual([1])[0], atol=2e-3)
    assert np.abs(tokens - stores[0].visual([1])[0]).max() > 0.05


def test_audio_tokens_are_optional(clips: list[Clip], checkpoint: Path, tmp_path: Path) -> None:
    """Audio tokens are stored in addition to vectors; reading them from other stores is an error."""
    names = {"visual": "none", "audio": f"audiomae:{checkpoint}", "workers": 1}
    extract(clips[:3], tmp_path / "with", **names, audio_tokens=True, dtype="float32")
    extract(clips[:3], tmp_path / "without", **names, dtype="float32")
    kept, plain = FeatureStore(tmp_path / "with"), FeatureStore(tmp_path / "without")
    tokens = kept.audio_tokens([2, 0])
    assert tokens.shape == (2, 512, 64)
    means = tokens.mean(axis=1, dtype=np.float64)
    normed = (means - means.mean(axis=1, keepdims=True)) / np.sqrt(means.var(axis=1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(kept.audio([2, 0]), normed, atol=1e-5)
    assert np.array_equal(kept.audio(range(3)), plain.audio(range(3)))
    assert "audio_tokens" not in plain.manifest.to_dict()
    assert "audio tokens 512 x 64" in summarize(tmp_path / "with").text()
    assert verify(tmp_path / "with").is_intact
    with pytest.raises(InputError, match="has no audio tokens"):
        plain.audio_tokens([0])
    with pytest.raises(InputError, match="another choice of audio tokens"):
        extract(clips[:3], tmp_path / "without", **names, audio_tokens=True, dtype="float32")
    with pytest.raises(InputError, match=r"log-mel\+yamnet has none; choose yamnet"):
        extract(clips[:3], tmp_path / "new", visual="none", audio_tokens=True)
