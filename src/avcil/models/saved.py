"""Models on the disk: safetensors beside JSON, never a pickle.

Any `Model` is saved by its kind, its config and its tensors, and is built again from them. A model's folder is laid
out as the Hugging Face hub expects it:

    config.json, model.safetensors, labels.json   the model
    learning.json, learning.safetensors           what learning on needs; a model without them only answers
    README.md                                     the model card

A folder is replaced whole: a reader, or a kill, meets the old model or the new one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from avcil.errors import InputError
from avcil.files import read_json, replace_folder, settle_folder, write_atomically, write_json, write_text
from avcil.models.base import Model
from avcil.models.card import model_card
from avcil.models.learning_state import LearningState
from avcil.models.network import Network
from avcil.tensor_files import load_tensors

FORMAT, VERSION = "avcil-model", 2
READ_VERSIONS = (1, 2)
"""Version 1 held the model alone, without what learning on needs."""
ONNX_FILE = "model.onnx"
"""May lie beside a model that was exported into its folder; goes when the model is replaced, as what it says is old."""
MODEL_FILES = frozenset(
    {
        ONNX_FILE,
        "config.json",
        "model.safetensors",
        "labels.json",
        "learning.json",
        "learning.safetensors",
        "README.md",
        ".gitattributes",
        ".lock",
    }
)


@dataclass(frozen=True, kw_only=True)
class SavedModel:
    """What a model's folder holds."""

    model: Model
    labels: tuple[str, ...]
    """In the order of learning."""
    description: dict[str, Any]
    """config.json without what builds the model: method, modality, how features are made, metrics."""
    learning: LearningState | None = None
    """None: it answers, but does not learn on."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors as safetensors, atomically."""
    content = save({name: tensor.detach().contiguous() for name, tensor in tensors.items()})
    write_atomically(path, lambda file: file.write(content))


def save_model(
    folder: Path,
    model: Model,
    *,
    labels: Sequence[str],
    description: Mapping[str, Any],
    learning: LearningState | None = None,
    name: str | None = None,
    license: str | None = None,
) -> None:
    """Write what a user ships; what stood in `folder` is replaced at once, or not at all.

    `name` and `license` are for the card of a model that is published. Raises InputError where `folder` holds files
    that are none of a model's.
    """
    folder = Path(folder)
    _refuse_foreign(folder)
    part = folder.with_name(f".{folder.name}.new")
    config = {"format": FORMAT, "version": VERSION, "kind": model.kind, "model": model.to_config()}

    def write() -> None:
        save_tensors(part / "model.safetensors", model.tensors())
        write_json(part / "labels.json", list(labels))
        if learning is not None:
            save_tensors(part / "learning.safetensors", learning.tensors)
            write_json(part / "learning.json", learning.to_dict())
        card = model_card(model.kind, labels, description, learning, name=name, license=license)
        write_text(part / "README.md", card)
        write_json(part / "config.json", config | dict(description))

    replace_folder(folder, part, write)


def _refuse_foreign(folder: Path) -> None:
    if folder.is_dir():
        foreign = sorted(entry.name for entry in folder.iterdir() if entry.name not in MODEL_FILES)
        if foreign:
            raise InputError(
                f"{folder} holds {', '.join(foreign[:3])}, which is no part of a model: it is not replaced. "
                "Choose another folder"
            )
    elif folder.exists():
        raise InputError(f"{folder} is a file, not a folder. Choose another --out")


def build_model(kind: str, config: dict[str, Any], tensors: dict[str, Tensor]) -> Model:
    """The model of a kind: the network, or what a closed-form method's file names as its model."""
    if kind == Network.kind:
        return Network.from_config(config, tensors).eval()
    from avcil.methods.base import ClosedFormMethod
    from avcil.methods.registry import method_of_kind

    method = method_of_kind(kind)  # never a path: a model's folder must not name code to be run
    if not issubclass(method, ClosedFormMethod):
        raise InputError(f"method {kind} trains a network: a model of kind {kind!r} is damaged")
    return method.load_model(config, tensors)


def load_model(folder: Path) -> tuple[Model, list[str], dict[str, Any]]:
    """The model, its class names in order, and its whole config, from a folder that `save_model` wrote."""
    folder = Path(folder)
    config = _config(folder)
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


def load_saved(folder: Path) -> SavedModel:
    """Everything that `save_model` wrote."""
    folder = Path(folder)
    settle_folder(folder)
    model, labels, config = load_model(folder)
    learning = None
    file = folder / "learning.json"
    if file.is_file():
        learning = LearningState.from_dict(
            read_json(file), load_tensors(folder / "learning.safetensors"), str(file)
        )
    inner = ("format", "version", "kind", "model")
    description = {name: value for name, value in config.items() if name not in inner}
    return SavedModel(model=model, labels=tuple(labels), description=description, learning=learning)


def _config(folder: Path) -> dict[str, Any]:
    if not (folder / "config.json").is_file():
        raise InputError(
            f"{folder} holds no model (no config.json). Give a run directory of a finished run, or its model/"
        )
    config = read_json(folder / "config.json")
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise InputError(f"{folder / 'config.json'} does not describe an avcil model")
    if config.get("version") not in READ_VERSIONS:
        raise InputError(
            f"{folder} was written in format version {config.get('version')}; this avcil reads version "
            f"{' and '.join(map(str, READ_VERSIONS))}. Install the avcil that wrote it, or a newer one"
        )
    return config
