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


def test_every_name_leads_to_an_encoder_of_that_name() -> None:
    """The tables point at classes that exist."""
    for places in (VISUAL, AUDIO):
        for name, (module, attribute) in places.items():
            assert getattr(importlib.import_module(module), attribute).name == name


def test_fingerprint_survives_json_and_rebuilds_the_encoder() -> None:
    """A store names its encoder in JSON."""
    for encoder in built():
        fingerprint = json.loads(json.dumps(encoder.fingerprint()))
        again = from_fingerprint(fingerprint)
        assert type(again) is type(encoder)
        assert again.fingerprint() == fingerprint


def test_options_change_the_fingerprint() -> None:
    """Two stores that differ must not look alike."""
    assert (
        visual_encoder("patch-motion").fingerprint() != visual_encoder("patch-motion", cells=3).fingerprint()
    )


@pytest.mark.parametrize("change", [{"version": 99}, {"weights": "0" * 64}])
def test_what_cannot_be_rebuilt_is_refused(change: dict) -> None:
    """Another version or other weights would give features that the model has never seen."""
    for encoder in built():
        with pytest.raises(InputError, match="another encoder"):
            from_fingerprint(encoder.fingerprint() | change)


@pytest.mark.parametrize("fingerprint", [{}, {"name": "log-mel"}])
def test_a_torn_fingerprint_is_refused(fingerprint: dict) -> None:
    """A manifest without its encoder cannot be used."""
    with pytest.raises(InputError, match="lacks"):
        from_fingerprint(fingerprint)


def test_unknown_names_and_options_come_with_the_nearest() -> None:
    """One grammar for all unknown names."""
    with pytest.raises(InputError, match="did you mean patch-motion"):
        visual_encoder("patch-moton")
    with pytest.raises(InputError, match="did you mean log-mel"):
        audio_encoder("logmel")
    with pytest.raises(InputError, match="did you mean bands"):
        audio_encoder("log-mel", band=3)


def test_importing_the_registry_is_light() -> None:
    """`--help` lists the names without waiting for torch."""
    code = "import sys, avcil.encoders.registry; assert not {'torch', 'av'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
