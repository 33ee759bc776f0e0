"""Mean and standard deviation of encoders: packaged, stored in the manifest, and not part of the fingerprint."""

from __future__ import annotations

import json

import pytest

from avcil.encoders.registry import audio_encoder, visual_encoder
from avcil.errors import InputError
from avcil.features.feature_spec import FeatureSpec
from avcil.features.manifest import Manifest

ENCODER = {"name": "made-up"}


def test_constants_are_stored_in_the_manifest(tmp_path):
    """Learning then needs no encoder to know them."""
    audio = FeatureSpec(shape=(2,), encoder=ENCODER, center=(0.5, -1.0), scale=(2.0, 0.25))
    Manifest(audio=audio).write(tmp_path)
    assert Manifest.read(tmp_path).audio == audio


def test_store_without_constants(tmp_path):
    """The manifest of an earlier version lacks them; clips can be added, and the fingerprint is unchanged."""
    old, new = (
        Manifest(audio=FeatureSpec(shape=(2,), encoder=ENCODER, **more))
        for more in ({}, {"center": (1.0, 2.0), "scale": (1.0, 2.0)})
    )
    old.write(tmp_path)
    assert "center" not in json.loads((tmp_path / "manifest.json").read_text())["audio"]
    new.check_identity(Manifest.read(tmp_path), tmp_path)
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
def test_invalid_constants_are_rejected(wrong, tmp_path):
    """Constants of 0 or text are errors when the store is opened, not later in training."""
    value = Manifest(audio=FeatureSpec(shape=(2,), encoder=ENCODER)).to_dict()
    value["audio"] |= wrong
    (tmp_path / "manifest.json").write_text(json.dumps(value))
    with pytest.raises(InputError):
        Manifest.read(tmp_path)


def test_constants_depend_on_the_fingerprint():
    """With other options, the encoder has no constants."""
    assert visual_encoder("patch-motion", cells=3).scale.tolist() == [1.0] * 128
    assert audio_encoder("log-mel", bands=40).center.tolist() == [0.0] * 148


def test_source_of_constants():
    """Constants of the store, otherwise the packaged ones; None if an encoder or a part has none."""
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
