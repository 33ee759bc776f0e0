"""Invalid values in config.json and learning.json: the error has the field and the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from changed_models import change, learn

from avcil.data.modality import Modality
from avcil.encoders.registry import from_fingerprint
from avcil.errors import InputError
from avcil.inference.clip_features import ClipReader
from avcil.saved_models.folder import load_saved

CONFIGS = {
    "audio_width": ("model.audio_width", [0, -1, 1 << 40, "10", 10.0, None, True, [10]]),
    "modality": ("model.modality", ["touch", ["audio"], None]),
    "head": ("model.head", [None, [], {"kind": "wizard"}, {"kind": "linear"}, 3]),
    "width of the head": ("model.head.width", [11, 1 << 20, "12", {}]),
    "classes of the head": ("model.head.classes", [0, 5, 1 << 20, 2.0, False]),
    "classifier": ("model.classifier", ["magic", None, "nearest-mean", []]),
    "kind": ("kind", [None, [], "", "../../x.py", "/tmp/x.py", "blade"]),
    "model": ("model", [None, [], 3]),
    "version": ("version", [True, 2.0, "2", 99]),
    "dtype": ("dtype", ["float64", 16, ["float16"], None]),
    "shape": ("audio.shape", [[11], [], "10", [10.0], None]),
    "encoder": ("audio.encoder", [None, "log-mel", []]),
    "metrics": ("metrics.average_incremental_accuracy", ["high", [1], {}]),
    "benchmark": ("data.benchmark", [3, "x" * 10_000]),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_invalid_configs_of_networks(name: str, copy: Callable[[str], Path]) -> None:
    """Widths beyond the tensors, wrong types, unknown names: no traceback, and no memory is allocated."""
    assert_rejected(copy("av-cil"), *CONFIGS[name])


def assert_rejected(folder: Path, at: str, values: list[object]) -> None:
    """Assert that the model cannot be loaded with any of these values in its config.json."""
    saved = (folder / "config.json").read_text()
    for value in values:
        change(folder / "config.json", at, value)
        with pytest.raises(InputError):
            load_saved(folder)
        (folder / "config.json").write_text(saved)


CLOSED = {
    "heads": ("model.heads", [[], ["audio"], ["audio-visual"] * 2, "audio-visual", [["audio-visual"]], 3]),
    "pooling": ("model.pooling", ["mean", "max", None]),
    "embedding": ("model.embedding", [[], {}, None, [{}], [3], "x"]),
    "at": ("model.embedding.0.at", [[9], [], [0, 0], "0", [-1], None]),
    "widths": ("model.embedding.0.embedding.widths", [[11], [], [1 << 30], ["10"], None]),
    "activation": ("model.embedding.0.embedding.activation", ["relu", "fourier", "sin", None]),
    "normalize": ("model.embedding.0.embedding.normalize", ["length", 3]),
    "seed": ("model.embedding.0.embedding.seed", [-1, "0", 1.5]),
}


@pytest.mark.parametrize("name", CLOSED)
def test_invalid_configs_of_closed_form_models(name: str, copy: Callable[[str], Path]) -> None:
    assert_rejected(copy("blade"), *CLOSED[name])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("method_options", []),
        ("method_options", {"features": "many"}),
        ("method_options", {"unknown": 1}),
        ("method_options", {"features": 10**9}),
        ("method", "../evil.py"),
        ("seed", -1),
        ("seed", "0"),
        ("epochs", 0),
        ("epochs", 2.5),
        ("batch_size", None),
        ("learning_rate", "fast"),
        ("precision", "int8"),
        ("exemplars_per_class", 0),
    ],
)
def test_invalid_settings_of_training(name: str, value: Any, copy: Callable[[str], Path]) -> None:
    for method in ("blade", "av-cil"):
        if (name == "exemplars_per_class") == (method == "blade"):
            continue
        folder = copy(method)
        change(folder / "learning.json", f"settings.{name}", value)
        with pytest.raises(InputError):
            learn(folder)


def log_mel(**options: Any) -> dict[str, Any]:
    return {"name": "log-mel", "version": 1, "options": options, "weights": "x"}


@pytest.mark.parametrize(
    "fingerprint",
    [
        log_mel(segments=10**9),
        log_mel(segments="16"),
        log_mel(bands=True),
        log_mel(bands=64.0),
        log_mel() | {"options": [["bands", 64]]},
        log_mel() | {"name": "patch-motion", "options": {"frames": 10**9}},
        log_mel() | {"name": "patch-motion", "options": {"width": 10**9}},
        log_mel() | {"name": "patch-motion", "options": {"slices": None}},
        log_mel() | {"name": "hf", "options": {"frames": "8"}},
        log_mel() | {"name": "audiomae", "options": {"variant": ["published"]}},
        log_mel() | {"name": ["log-mel"]},
    ],
)
def test_encoders_with_excessive_options(fingerprint: dict[str, Any]) -> None:
    """The encoder of an untrusted model must neither allocate gigabytes nor crash."""
    with pytest.raises(InputError):
        from_fingerprint(fingerprint)


def test_encoder_must_fit_the_model() -> None:
    from avcil.encoders.registry import audio_encoder

    encoder = audio_encoder("log-mel")
    description = {"dtype": "float16", "audio": {"shape": [encoder.width], "encoder": encoder.fingerprint()}}
    assert ClipReader(description, modality=Modality.AUDIO).encoders.audio is not None
    description["audio"]["shape"] = [10]
    with pytest.raises(InputError, match=r"features of shape \[10\]"):
        ClipReader(description, modality=Modality.AUDIO)
    with pytest.raises(InputError, match="'audio' is missing"):
        ClipReader({"dtype": "float16"}, modality=Modality.AUDIO)


def test_number_of_updates_of_earlier_versions(copy: Callable[[str], Path]) -> None:
    """It was called `sittings` in config.json."""
    folder = copy("blade")
    change(folder / "config.json", "sittings", 3)
    assert load_saved(folder).description["updates"] == 3
    change(folder / "config.json", "sittings", "3")
    with pytest.raises(InputError, match="sittings"):
        load_saved(folder)
