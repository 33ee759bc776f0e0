"""Models by their name on the Hugging Face Hub, loaded from its cache without network access."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from avcil.encoders.audio_vit import AudioViT
from avcil.encoders.registry import audio_encoder, from_fingerprint, visual_encoder
from avcil.errors import InputError

COMMITS = ("a" * 40, "b" * 40)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def download(cache: Path, name: str, commit: str, files: Path, *, known_absent: tuple[str, ...] = ()) -> Path:
    """Creates the cache entries that a download of `files` as the newest commit of `name` creates."""
    folder = cache / f"models--{name.replace('/', '--')}"
    shutil.copytree(files, folder / "snapshots" / commit)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(commit)
    for file in known_absent:
        (folder / ".no_exist" / commit).mkdir(parents=True, exist_ok=True)
        (folder / ".no_exist" / commit / file).touch()
    return folder / "snapshots" / commit


def test_store_pins_the_commit(cache: Path, videomae_folder: Path) -> None:
    """The features were computed by this commit, whatever is the newest one later."""
    files = download(cache, "org/model", COMMITS[0], videomae_folder)
    (files / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.1] * 3}))
    fingerprint = visual_encoder("hf:org/model").fingerprint()
    assert fingerprint["options"]["source"] == f"org/model@{COMMITS[0]}"
    newer = download(cache, "org/model", COMMITS[1], videomae_folder)
    (newer / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.2] * 3}))
    assert visual_encoder("hf:org/model").fingerprint() != fingerprint
    assert from_fingerprint(fingerprint).fingerprint() == fingerprint
    assert visual_encoder(f"hf:org/model@{COMMITS[0]}").fingerprint() == fingerprint


def test_unreachable_settings_file_is_an_error(cache: Path, videomae_folder: Path) -> None:
    """It may exist with another mean and standard deviation, so the defaults are not used."""
    download(cache, "org/half", COMMITS[0], videomae_folder)
    with pytest.raises(InputError, match=r"org/half@a+ cannot be loaded"):
        visual_encoder("hf:org/half")
    absent = ("preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json")
    download(cache, "org/whole", COMMITS[0], videomae_folder, known_absent=absent)
    preprocessing = visual_encoder("hf:org/whole").fingerprint()["preprocessing"]
    assert preprocessing["source"] == "published: imagenet"


def test_audiomae_by_name_on_the_hub(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The same weights as safetensors in a repository, with their commit."""
    files = tmp_path_factory.mktemp("files")
    torch.manual_seed(0)
    save_file(AudioViT(width=64, depth=1, hidden=64).state_dict(), files / "model.safetensors")
    download(cache, "org/audiomae", COMMITS[0], files)
    encoder = audio_encoder("audiomae:org/audiomae")
    assert encoder.options["source"] == f"org/audiomae@{COMMITS[0]}"
    assert from_fingerprint(encoder.fingerprint()).fingerprint() == encoder.fingerprint()


@pytest.mark.parametrize("make", [visual_encoder, audio_encoder])
def test_model_missing_in_the_cache(make, cache: Path) -> None:
    """Without a network, only models in the cache can be used."""
    with pytest.raises(InputError, match=r"nobody/nothing cannot be loaded.*HF_HUB_OFFLINE"):
        make("hf:nobody/nothing")
