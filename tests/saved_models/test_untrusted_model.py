"""Untrusted or damaged model folders: the error names the problem and the file."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from avcil.data.modality import Modality
from avcil.encoders.registry import from_fingerprint
from avcil.errors import InputError
from avcil.inference import Recognizer
from avcil.inference.clip_features import ClipFeatures, ClipReader
from avcil.saved_models.folder import load_saved
from avcil.training.config import TrainConfig
from avcil.training.run import train

METHODS = {
    "av-cil": (),
    "afc": (),
    "blade": (),
    "slda": ("features=20",),
    "rls": ("features=20", "stream_features=10"),
}


@pytest.fixture(scope="module")
def models(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of each kind, with what learning on needs."""
    out = tmp_path_factory.mktemp("models")
    for method, options in METHODS.items():
        config = TrainConfig(
            features=store,
            out=out / "runs" / method,
            method=method,
            set=options,
            classes_per_step=3,
            epochs=1,
            exemplars_per_class=1,
        )
        train(config, quiet=True)
        shutil.copytree(out / "runs" / method / "model", out / method)
    return out


@pytest.fixture
def copy(models: Path, tmp_path: Path) -> Callable[[str], Path]:
    return lambda method: Path(shutil.copytree(models / method, tmp_path / method))


def change(file: Path, at: str, value: Any, *, keep_checksums: bool = False) -> None:
    """Set `a.b.0` of a JSON file, and take the checksums out of config.json, as an attacker does."""
    for path in {file} if keep_checksums else {file, file.with_name("config.json")}:
        content = json.loads(path.read_text())
        if path == file:
            *way, last = at.split(".")
            holder = content
            for name in way:
                holder = holder[int(name) if name.isdigit() else name]
            holder[int(last) if last.isdigit() else last] = value
        if not keep_checksums and isinstance(content, dict):
            content = {name: entry for name, entry in content.items() if not name.startswith("checksum")}
        path.write_text(json.dumps(content))


def change_tensors(file: Path, make: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(file)
    make(tensors)
    file.unlink()
    save_file(tensors, file)
    change(file.with_name("config.json"), "changed", True)


@pytest.mark.parametrize("method", METHODS)
def test_a_model_as_saved_is_read(method: str, models: Path) -> None:
    assert load_saved(models / method).learning is not None


@pytest.mark.parametrize("method", METHODS)
def test_a_model_without_checksums_is_read(method: str, copy: Callable[[str], Path]) -> None:
    """Earlier versions wrote none."""
    folder = copy(method)
    change(folder / "config.json", "extra", 1)
    assert load_saved(folder).labels == load_saved(folder).labels


@pytest.mark.parametrize("name", ["config.json", "labels.json", "model.safetensors", "learning.json"])
def test_changed_files_of_valid_form_are_detected(name: str, copy: Callable[[str], Path]) -> None:
    """Labels exchanged, a weight changed, a figure changed: all of the right form, but not what was saved."""
    folder = copy("blade")
    if name == "labels.json":
        labels = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(labels[::-1]))
    elif name == "model.safetensors":
        tensors = load_file(folder / name)
        tensors["head.audio-visual.bias"] += 1e-3
        (folder / name).unlink()
        save_file(tensors, folder / name)
    elif name == "config.json":
        change(folder / name, "metrics.average_incremental_accuracy", 0.125, keep_checksums=True)
    else:
        counts = json.loads((folder / name).read_text())["counts"]
        change(folder / name, f"counts.{next(iter(counts))}", 99, keep_checksums=True)
    with pytest.raises(InputError, match=f"{name} changed after the model was saved"):
        load_saved(folder)


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
    """Widths beyond the tensors, other types, unknown names: never a traceback, and no memory is taken."""
    at, values = CONFIGS[name]
    folder = copy("av-cil")
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
    at, values = CLOSED[name]
    folder = copy("blade")
    saved = (folder / "config.json").read_text()
    for value in values:
        change(folder / "config.json", at, value)
        with pytest.raises(InputError):
            load_saved(folder)
        (folder / "config.json").write_text(saved)


@pytest.mark.parametrize(
    "labels", [[], {}, "abc", [1, 2], ["a", "a"], ["a", " "], ["a", None], [["a"]], ["x" * 2_000], None]
)
def test_invalid_labels(labels: Any, copy: Callable[[str], Path]) -> None:
    folder = copy("blade")
    (folder / "labels.json").write_text(json.dumps(labels))
    with pytest.raises(InputError, match=r"labels\.json"):
        load_saved(folder)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("file", ["model.safetensors", "learning.safetensors"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite(
    method: str, file: str, value: float, copy: Callable[[str], Path]
) -> None:
    """A model with NaN would predict the first class for every clip."""
    folder = copy(method)
    floats = [name for name, tensor in load_file(folder / file).items() if tensor.is_floating_point()]
    for name in floats[:1]:
        change_tensors(folder / file, lambda tensors, name=name: tensors[name].view(-1)[:1].fill_(value))
        with pytest.raises(InputError, match="NaN or infinity"):
            load_saved(folder)


@pytest.mark.parametrize("method", METHODS)
def test_each_tensor_must_be_there_in_its_shape(method: str, copy: Callable[[str], Path]) -> None:
    """Missing, one row too many, another type, or one that is not used."""
    folder = copy(method)
    file = folder / "model.safetensors"
    saved = file.read_bytes()
    names = list(load_file(file))
    changes: list[Callable[[dict[str, torch.Tensor]], object]] = [
        *(lambda tensors, name=name: tensors.pop(name) for name in names),
        *(
            lambda tensors, name=name: tensors.update(
                {name: torch.cat([tensors[name].reshape(-1), torch.ones(1)])}
            )
            for name in names
        ),
        *(lambda tensors, name=name: tensors.update({name: tensors[name].bool()}) for name in names),
        lambda tensors: tensors.update(surplus=torch.ones(1)),
    ]
    for make in changes:
        change_tensors(file, make)
        with pytest.raises(InputError):
            load_saved(folder)
        file.write_bytes(saved)


@pytest.mark.parametrize("name", ["config.json", "labels.json", "model.safetensors", "learning.json"])
def test_not_a_regular_file(name: str, copy: Callable[[str], Path]) -> None:
    """A folder, a pipe, a device or a broken link in a file's place neither blocks nor crashes."""
    folder = copy("blade")
    path = folder / name
    for put in (
        Path.mkdir,
        os.mkfifo,
        lambda it: it.symlink_to("/dev/zero"),
        lambda it: it.symlink_to(folder),
    ):
        path.unlink() if path.is_symlink() or not path.is_dir() else path.rmdir()
        put(path)
        with pytest.raises(InputError):
            load_saved(folder)


def test_a_folder_of_links_is_read(models: Path, tmp_path: Path) -> None:
    """The hub's cache: a snapshot's files are links to blobs."""
    (tmp_path / "snapshot").mkdir()
    for file in (models / "blade").iterdir():
        (tmp_path / "snapshot" / file.name).symlink_to(file)
    assert load_saved(tmp_path / "snapshot").labels == load_saved(models / "blade").labels


LEARNING = {
    "settings": [None, [], {}, {"method": "blade"}, {"method": 3, "modality": "audio-visual"}],
    "steps": [None, [], [[]], [["a", "b"]], "ab", [[1]], [["c0"], ["c0"]]],
    "counts": [None, {}, {"c0": 1}, {"other": 1}, []],
    "exemplars": [None, [], {"other": ["x"]}, {"c0": [3]}, {"c0": "x"}, {"c0": ["x"]}],
}


@pytest.mark.parametrize("name", LEARNING)
def test_learning_state_must_fit_the_model(name: str, copy: Callable[[str], Path]) -> None:
    for method in ("blade", "av-cil"):
        folder = copy(method)
        saved = (folder / "learning.json").read_text()
        for value in LEARNING[name]:
            change(folder / "learning.json", name, value)
            with pytest.raises(InputError, match=r"learning\.json"):
                load_saved(folder)
            (folder / "learning.json").write_text(saved)


def learn(folder: Path) -> None:
    recognizer = Recognizer.load(folder)
    draw = torch.Generator().manual_seed(0)
    clips = [
        ClipFeatures(
            audio=torch.randn(1, 10, generator=draw),
            visual=torch.randn(1, 2, 3, 12, generator=draw),
            clip_id=f"new{number}",
        )
        for number in range(2)
    ]
    recognizer.learn(clips, ["owl", "owl"])


@pytest.mark.parametrize("method", ["blade", "slda", "rls"])
def test_statistics_must_fit_each_other(method: str, copy: Callable[[str], Path]) -> None:
    """Statistics are loaded and checked when the model learns more clips, not before."""
    folder = copy(method)
    learn(folder)
    file = folder / "learning.safetensors"
    saved = file.read_bytes()
    for name in load_file(file):
        changes: list[Callable[[dict[str, torch.Tensor]], object]] = [
            lambda tensors, name=name: tensors.update({name: torch.zeros(3, 3, 3)})
        ]
        if ".figure." not in name or method == "rls":  # the others are starting points, or for the log alone
            changes.append(lambda tensors, name=name: tensors.pop(name))
        for make in changes:
            change_tensors(file, make)
            with pytest.raises(InputError):
                learn(folder)
            file.write_bytes(saved)


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
def test_fingerprints_that_ask_for_too_much(fingerprint: dict[str, Any]) -> None:
    """The encoder named by an untrusted model must neither need gigabytes nor crash."""
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


def test_the_number_of_updates_of_earlier_versions_is_read(copy: Callable[[str], Path]) -> None:
    """It was called `sittings` in config.json."""
    folder = copy("blade")
    change(folder / "config.json", "sittings", 3)
    assert load_saved(folder).description["updates"] == 3
    change(folder / "config.json", "sittings", "3")
    with pytest.raises(InputError, match="sittings"):
        load_saved(folder)
