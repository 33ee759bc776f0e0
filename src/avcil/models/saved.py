"""Models on the disk: safetensors beside JSON, never a pickle.

Any `Model` is saved by its kind, its config and its tensors, and is built again from them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from avcil.errors import InputError, unknown_name
from avcil.files import read_json, write_atomically, write_json
from avcil.models.base import Model
from avcil.models.network import Network

FORMAT, VERSION = "avcil-model", 1


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write named tensors as safetensors, atomically."""
    content = save({name: tensor.detach().contiguous() for name, tensor in tensors.items()})
    write_atomically(path, lambda file: file.write(content))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read named tensors; a missing or damaged file is an InputError that names it."""
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path} is damaged: {error}") from None


def save_model(folder: Path, model: Model, *, labels: list[str], description: dict[str, Any]) -> None:
    """Write what a user ships: model.safetensors, labels.json and, last, config.json."""
    save_tensors(folder / "model.safetensors", model.tensors())
    write_json(folder / "labels.json", labels)
    config = {"format": FORMAT, "version": VERSION, "kind": model.kind, "model": model.to_config()}
    write_json(folder / "config.json", config | description)


def build_model(kind: str, config: dict[str, Any], tensors: dict[str, Tensor]) -> Model:
    """The model of a kind: the network, or what a closed-form method's file names as its model."""
    if kind == Network.kind:
        return Network.from_config(config, tensors).eval()
    from avcil.methods.registry import load_method, method_names

    if kind not in method_names():  # never a path: a model's folder must not name code to be run
        raise unknown_name("kind of model", kind, [Network.kind, *method_names()])
    return load_method(kind).load_model(config, tensors)


def load_model(folder: Path) -> tuple[Model, list[str], dict[str, Any]]:
    """The model, its class names in order, and its whole description, from a folder that `save_model` wrote."""
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise InputError(
            f"{folder} holds no model (no config.json). Give a run directory of a finished run, or its model/"
        )
    config = read_json(folder / "config.json")
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise InputError(f"{folder / 'config.json'} does not describe an avcil model")
    if config.get("version") != VERSION:
        raise InputError(
            f"{folder} was written in format version {config.get('version')}; this avcil reads version {VERSION}. "
            "Install the avcil that wrote it, or a newer one"
        )
    labels = read_json(folder / "labels.json")
    tensors = load_tensors(folder / "model.safetensors")
    try:
        model = build_model(config["kind"], config["model"], tensors)
    except (KeyError, TypeError, AttributeError, RuntimeError, StopIteration) as error:
        raise InputError(
            f"{folder}: config.json and model.safetensors do not fit each other: {error}"
        ) from error
    if not isinstance(labels, list) or len(set(map(str, labels))) != len(labels):
        raise InputError(f"{folder / 'labels.json'} must be a list of class names, each once")
    if model.classes != len(labels):
        raise InputError(
            f"{folder}: the model knows {model.classes} classes, labels.json names {len(labels)}"
        )
    return model, labels, config
