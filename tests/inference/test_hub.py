"""Publishing and downloading models with the client library of the hub and a local server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard

from avcil.errors import InputError
from avcil.inference import ClipFeatures, Recognizer
from avcil.saved_models.card import model_card

from .fake_hub import FakeHub, serving  # isort: skip

VERSION_1 = Path(__file__).parent / "version_1" / "av-cil"


def in_python(hub: FakeHub, home: Path, code: str, *, token: str = "hf_token") -> list[str]:
    """The output of a program with this hub as its endpoint; the library reads the URL at import."""
    settings = {"HF_ENDPOINT": hub.url, "HF_TOKEN": token, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    settings |= {
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "OMP_NUM_THREADS": "1",
    }
    code = f"from avcil.errors import AvcilError\nfrom avcil.inference import Recognizer\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | settings, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


PUSH = """
address = Recognizer.load({first!r}).push_to_hub("me/dogs", license="cc-by-4.0")
print(address)
Recognizer.load({second!r}).push_to_hub("me/dogs", private=False)
"""
PULL = """
for revision in ({first!r}, None):
    found = Recognizer.from_pretrained("me/dogs", revision=revision)
    found.save({folder!r} + "/" + str(revision))
for name in ("me/nothing", "me/dogs"):
    try:
        Recognizer.from_pretrained(name, revision=None if name == "me/nothing" else "gone")
    except AvcilError as error:
        print(error)
"""
DENIED = """
try:
    Recognizer.load({folder!r}).push_to_hub("me/dogs")
except AvcilError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def published(trained, tmp_path_factory):
    """A hub with two uploads of one name: a model with learning state, then one of format version 1."""
    with serving() as hub:
        home = tmp_path_factory.mktemp("publisher")
        message = in_python(hub, home, PUSH.format(first=str(trained / "av"), second=str(VERSION_1)))
        assert message == [f"{hub.url}/me/dogs"]
        yield hub


def test_upload(published, trained):
    """All files of the model are uploaded; a second upload removes the files of the old model."""
    _, first, second = published.commits["me/dogs"]
    model = trained / "av" / "model"
    for file in model.iterdir():
        if file.name != "README.md":
            assert first[file.name] == file.read_bytes(), file.name
    assert published.private["me/dogs"]
    assert set(first) - set(second) == {"learning.json", "learning.safetensors"}
    card = ModelCard(first["README.md"].decode())
    assert (card.data.license, card.data.library_name) == ("cc-by-4.0", "avcil")
    assert 'Recognizer.from_pretrained("me/dogs")' in card.text
    assert card.text.lstrip().startswith("# me/dogs\n")
    assert "pip install avcil" not in card.text, "avcil is not on PyPI"


def test_download(published, tmp_path):
    """Each revision gives the predictions of the uploaded model; a missing name is an error."""
    first = published.commit_id("me/dogs", 1)
    message = in_python(published, tmp_path / "home", PULL.format(first=first, folder=str(tmp_path)))
    assert [line.split(":")[0] for line in message] == [
        "me/nothing is not a local folder, and cannot be downloaded from the hub",
        "me/dogs is not a local folder, and cannot be downloaded from the hub",
    ]
    assert all(line.endswith("log in with: hf auth login") for line in message)
    assert Recognizer.load(tmp_path / first).counts is not None
    old = Recognizer.load(tmp_path / "None")
    draw = torch.Generator().manual_seed(0)
    audio, visual = torch.randn(3, 10, generator=draw), torch.randn(3, 2, 3, 12, generator=draw)
    clips = [ClipFeatures(audio=audio[i : i + 1], visual=visual[i : i + 1]) for i in range(3)]
    expected = json.loads((VERSION_1 / "expected.json").read_text())
    np.testing.assert_allclose(old.predict_proba(clips), expected, rtol=1e-5, atol=1e-7)


def test_without_permission(published, tmp_path):
    """The error is one line with the next step; nothing is uploaded."""
    before = len(published.commits["me/dogs"])
    (message,) = in_python(published, tmp_path, DENIED.format(folder=str(VERSION_1)), token="hf_wrong")
    assert message.startswith("me/dogs cannot be uploaded to the hub: ")
    assert "401" in message
    assert message.endswith("log in with: hf auth login")
    assert len(published.commits["me/dogs"]) == before


def test_names_and_the_extra(monkeypatch):
    """A name without an owner is an error; without the library, the error names the extra to install."""
    with pytest.raises(InputError, match=r"neither a folder nor a name on the hub \(OWNER/NAME\)"):
        Recognizer.from_pretrained("dogs")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"pip install 'avcil\[hub\]'"):
        Recognizer.load(VERSION_1).push_to_hub("me/dogs")


# -- the card ----------------------------------------------------------------------------------------------------


def test_metrics_of_the_card(trained):
    """The hub's library finds the metrics of the run, each with a name and a type."""
    card = ModelCard.load(trained / "av" / "model" / "README.md")
    results = json.loads((trained / "av" / "results.json").read_text())
    found = {result.metric_name: result for result in card.data.eval_results}
    assert found["accuracy after the last step"].metric_value == pytest.approx(
        results["last_accuracy"], abs=1e-4
    )
    assert found["mean forgetting"].metric_value == pytest.approx(results["mean_forgetting"], abs=1e-4)
    assert {result.metric_type for result in found.values()} == {"accuracy", "mean_forgetting"}
    assert all(result.dataset_name == "own clips" for result in found.values())
    assert card.data.metrics == ["accuracy"]
    assert {"audio-visual", "av-cil"} <= set(card.data.tags)
    assert "8 test clips" in card.text
    assert "Trained on 12 clips of 4 classes in 2 steps" in card.text
    assert "contain the features and names of 8 training clips" in card.text
    assert '| dog, "big" | 3 |' in card.text


def test_card_is_valid_with_any_names(tmp_path):
    """Quotes, colons and emoji are escaped, and the path of a method file is not shown."""
    description = {
        "method": "/home/someone/secret/my_own.py",
        "modality": "audio",
        "data": {"benchmark": 'a: "b" 🎸 # c', "test_clips": 7},
        "metrics": {"classes": 1, "last_accuracy": 0.5, "mean_forgetting": None},
    }
    text = model_card("x", ["- [a](b) | <b>"], description, None, name="me/x-y")
    card = ModelCard(text)
    (result,) = card.data.eval_results
    assert (result.dataset_name, result.metric_value) == ('a: "b" 🎸 # c', 0.5)
    assert "my_own" in card.data.tags
    assert "secret" not in text
    assert "\\| &lt;b>" in text


def test_metrics_before_an_update(trained):
    """After an update, metrics are marked as older in the text and are not in the metadata."""
    description = Recognizer.load(trained / "av").description
    card = ModelCard(model_card("network", ["a"], description | {"updates": 1}, None))
    assert card.data.eval_results is None
    assert card.data.metrics is None
    assert "The model was updated once since; these metrics were measured before." in card.text


def test_exported_file_is_removed_with_its_model(trained, tmp_path):
    """A model folder can contain model.onnx; it is removed when another model is saved there."""
    recognizer = Recognizer.load(trained / "av")
    recognizer.save(tmp_path / "model")
    recognizer.export_onnx(tmp_path / "model")
    assert (tmp_path / "model" / "model.onnx").exists()
    assert Recognizer.load(tmp_path / "model").classes_ == recognizer.classes_
    recognizer.save(tmp_path / "model")
    assert not (tmp_path / "model" / "model.onnx").exists()
