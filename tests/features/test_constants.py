"""Center and scale of encoders: shipped with them, kept in the manifest, and no part of what makes stores equal."""

from __future__ import annotations

import json

import pytest

from avcil.encoders.registry import audio_encoder, visual_encoder
from avcil.errors import InputError
from avcil.features.feature_spec import FeatureSpec
from avcil.features.manifest import Manifest

ENCODER = {"name": "made-up"}


def test_a_manifest_keeps_them(tmp_path):
    """So that a learner needs no encoder to know them."""
    audio = FeatureSpec(shape=(2,), encoder=ENCODER, center=(0.5, -1.0), scale=(2.0, 0.25))
    Manifest(audio=audio).write(tmp_path)
    assert Manifest.read(tmp_path).audio == audio


def test_a_store_made_before_there_were_any_is_the_same_store(tmp_path):
    """Its manifest lacks them; clips can still be added, and its fingerprint stays."""
    old, new = (
        Manifest(audio=FeatureSpec(shape=(2,), encoder=ENCODER, **more))
        for more in ({}, {"center": (1.0, 2.0), "scale": (1.0, 2.0)})
    )
    old.write(tmp_path)
    assert "center" not in json.loads((tmp_path / "manifest.json").read_text())["audio"]
    new.assert_in_sync(Manifest.read(tmp_path), tmp_path)
    assert old.identity() == new.identity()


@pytest.mark.parametrize(
    "wrong",
    [
        {"scale": [1.0]},
        {"scale": [1.0, 0.0]},
        {"scale": [1.0, float("inf")]},
        {"scale": [1.0, 1e-50]},
        {"scale": [1.0, 1e300]},
        {"center": [0.0, float("nan")]},
        {"center": [0.0, "1"]},
        {"center": 3},
    ],
)
def test_damaged_ones_are_refused(wrong, tmp_path):
    """Constants of 0 or text are errors when the store is opened, not later in training."""
    value = Manifest(audio=FeatureSpec(shape=(2,), encoder=ENCODER)).to_dict()
    value["audio"] |= wrong
    (tmp_path / "manifest.json").write_text(json.dumps(value))
    with pytest.raises(InputError):
        Manifest.read(tmp_path)


def test_they_hold_for_one_fingerprint():
    """Other options have other features, of which nothing is known."""
    assert visual_encoder("patch-motion", cells=3).scale.tolist() == [1.0] * 128
    assert audio_encoder("log-mel", bands=40).center.tolist() == [0.0] * 148


def test_what_scales_the_features():
    """A store's own constants, or those shipped for its encoder; None where an encoder or one of several has none."""
    encoder = audio_encoder("log-mel+yamnet")
    own = FeatureSpec.of(encoder, (encoder.width,)).constants
    assert own.scale.tolist() == encoder.scale.tolist()
    assert own.center.tolist() == encoder.center.tolist()
    yamnet = audio_encoder("yamnet")
    shipped = FeatureSpec(shape=(yamnet.width,), encoder=yamnet.fingerprint()).constants
    assert shipped.scale.tolist() == yamnet.scale.tolist()
    assert FeatureSpec(shape=(5,), encoder={"name": "other"}).constants is None
    parts = {"name": "a+b", "parts": [{"name": "a"}, {"name": "b"}], "widths": [2, 2]}
    assert FeatureSpec(shape=(4,), encoder=parts, scale=(0.5, 0.7, 2.0, 2.0)).constants is None
    assert FeatureSpec(shape=(4,), encoder=parts, scale=(0.5, 0.7, 2.0, 2.5)).constants is not None
