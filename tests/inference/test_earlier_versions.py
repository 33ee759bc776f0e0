"""Models that earlier versions of avcil saved."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from avcil.errors import InputError
from avcil.inference import ClipFeatures, Recognizer
from avcil.training.config import TrainConfig
from avcil.training.run import train


def load_and_check(folder: Path) -> tuple[Recognizer, list[ClipFeatures]]:
    """The model, and three clips for which it gives the probabilities in expected.json."""
    recognizer = Recognizer.load(folder)
    draw = torch.Generator().manual_seed(0)
    audio, visual = torch.randn(3, 10, generator=draw), torch.randn(3, 2, 3, 12, generator=draw)
    clips = [ClipFeatures(audio=audio[i : i + 1], visual=visual[i : i + 1]) for i in range(3)]
    expected = json.loads((folder / "expected.json").read_text())
    np.testing.assert_allclose(recognizer.predict_proba(clips), expected, rtol=1e-5, atol=1e-7)
    return recognizer, clips


@pytest.mark.parametrize("method", ["av-cil", "icarl", "blade", "ranpac"])
def test_models_of_version_1(method, tmp_path):
    """They give the same predictions; they cannot learn, and the error gives the reason; saving converts them."""
    folder = Path(__file__).parent / "version_1" / method
    recognizer, clips = load_and_check(folder)
    assert recognizer.counts is None
    with pytest.raises(InputError, match="saved without the files for further learning"):
        recognizer.learn(clips, ["new"] * 3)
    recognizer.save(tmp_path / "new")
    assert json.loads((tmp_path / "new" / "config.json").read_text())["version"] == 6
    saved = Recognizer.load(tmp_path / "new")
    np.testing.assert_array_equal(saved.predict_proba(clips), recognizer.predict_proba(clips))


def test_blade_of_version_2_can_learn(new_store, tmp_path):
    """A model of format 2 gives the same predictions; learning converts its statistics; it records no old clips."""
    folder = Path(__file__).parent / "version_2" / "blade"
    recognizer, clips = load_and_check(folder)

    config = TrainConfig(
        features=new_store(classes=4), out=tmp_path / "run", method="blade", classes_per_step=2
    )
    train(config, quiet=True)
    today = Recognizer.load(tmp_path / "run")
    for either in (recognizer, today):
        either.learn(clips, ["new"] * 3)
    one, other = (either.snapshot().learning.tensors for either in (recognizer, today))
    for name in (f"{part}.{kind}" for part in ("audio", "visual") for kind in ("counts", "means", "within")):
        torch.testing.assert_close(one[f"moments.{name}"], other[f"moments.{name}"], rtol=1e-6, atol=1e-6)
    assert recognizer.predict(clips) == today.predict(clips)
    notes = [either.forget(clips[:1], ["new"]).notes for either in (recognizer, today)]
    assert "does not record all clips" in notes[0][0]
    assert notes[1] == ()
