"""Encoders by name and by fingerprint."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

import pytest

from avcil.encoders.registry import AUDIO, VISUAL, audio_encoder, from_fingerprint, visual_encoder
from avcil.errors import InputError


def built() -> list:
    return [visual_encoder("patch-motion", cells=3), audio_encoder("log-mel", bands=40)]


def test_names_match_the_encoders() -> None:
    """Each name in the tables builds an encoder with this name."""
    for places in (VISUAL, AUDIO):
        for name, (module, attribute) in places.items():
            assert getattr(importlib.import_module(module), attribute).name == name


def test_fingerprint_rebuilds_the_encoder() -> None:
    """A store has the fingerprint of its encoder in JSON."""
    for encoder in built():
        fingerprint = json.loads(json.dumps(encoder.fingerprint()))
        again = from_fingerprint(fingerprint)
        assert type(again) is type(encoder)
        assert again.fingerprint() == fingerprint


def test_options_change_the_fingerprint() -> None:
    """Stores with different features must have different fingerprints."""
    assert (
        visual_encoder("patch-motion").fingerprint() != visual_encoder("patch-motion", cells=3).fingerprint()
    )


@pytest.mark.parametrize("change", [{"version": 99}, {"weights": "0" * 64}])
def test_other_versions_or_weights_are_rejected(change: dict) -> None:
    """They would give other features than those of the training."""
    for encoder in built():
        with pytest.raises(InputError, match="another encoder"):
            from_fingerprint(encoder.fingerprint() | change)


@pytest.mark.parametrize("fingerprint", [{}, {"name": "log-mel"}])
def test_incomplete_fingerprints_are_rejected(fingerprint: dict) -> None:
    """A manifest without its encoder cannot be used."""
    with pytest.raises(InputError, match="lacks"):
        from_fingerprint(fingerprint)


def test_unknown_names_and_options() -> None:
    """Errors have one form and contain the most similar name."""
    with pytest.raises(InputError, match="did you mean patch-motion"):
        visual_encoder("patch-moton")
    with pytest.raises(InputError, match="did you mean log-mel"):
        audio_encoder("logmel")
    with pytest.raises(InputError, match="did you mean bands"):
        audio_encoder("log-mel", band=3)


def test_registry_imports_no_heavy_packages() -> None:
    """`--help` lists the names and must not import torch."""
    code = "import sys, avcil.encoders.registry; assert not {'torch', 'av'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
