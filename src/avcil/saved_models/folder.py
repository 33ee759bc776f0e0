"""Models on the disk: safetensors beside JSON, never a pickle.

Any `Model` is saved by its kind, its config and its tensors, and is built again from them. A model's folder is laid
out as the Hugging Face hub expects it:

    config.json, model.safetensors, labels.json   the model
    learning.json, learning.safetensors           what learning on needs; a model without them only answers
    README.md                                     the model card

A folder is replaced whole: a reader, or a kill, meets the old model or the new one. It may come from anyone: what it
holds is checked once, when it is loaded, and config.json has a checksum of each file, itself included. They tell of
damage and of changes by hand; they are no signature.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from avcil.encoders.parts import Part, parts_of
from avcil.errors import InputError
from avcil.methods.registry import method_names
from avcil.models import checks
from avcil.models.base import Model
from avcil.nn.network import Network
from avcil.saved_models import checksums as model_checksums
from avcil.saved_models.card import model_card
from avcil.saved_models.description import check_description
from avcil.saved_models.learning_state import LearningState, check_learning
from avcil.utils.files import (
    read_json,
    replace_folder,
    settle_folder,
    write_atomically,
    write_json,
    write_text,
)
from avcil.utils.tensor_files import load_tensors

FORMAT, VERSION = "avcil-model", 3
READ_VERSIONS = (1, 2, 3)
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


BACKGROUND = "(background)"
"""The label of clips to be rejected: the model learns it as a class, but it is never a prediction."""


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

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels that can be predicted, in the order of learning."""
        return tuple(label for label in self.labels if label != BACKGROUND)

    def parts(self, modality: str) -> tuple[Part, ...]:
        """The encoders that the features of "audio" or "visual" come from; none if it does not use them."""
        found = self.description.get(modality)
        return parts_of(found["encoder"], found["shape"][-1]) if found else ()


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
    config |= dict(description)

    def write() -> None:
        save_tensors(part / "model.safetensors", model.tensors())
        write_json(part / "labels.json", list(labels))
        if learning is not None:
            save_tensors(part / "learning.safetensors", learning.tensors)
            write_json(part / "learning.json", learning.to_dict())
        card = model_card(
            model.kind,
            labels,
            description,
            learning,
            name=name,
            license=license,
            notes=getattr(model, "notes", ()),
        )
        write_text(part / "README.md", card)
        write_json(part / "config.json", model_checksums.added(config, part))

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
    """The model, its class names in order, and its whole config, from a folder that `save_model` wrote.

    Raises:
        InputError: If a file is missing, damaged, changed after it was written, or does not fit the others.
    """
    folder = Path(folder)
    config = read_description(folder)
    with _named(folder / "labels.json"):
        labels = checks.labels(read_json(folder / "labels.json"))
    tensors = load_tensors(folder / "model.safetensors")
    with _named(f"{folder}: config.json and model.safetensors do not fit each other"):
        checks.finite(tensors)
        kind = checks.entry(config, "kind")
        if not isinstance(kind, str):
            raise InputError(f"kind is {kind!r:.60}; it must be a text")
        model = _built(kind, checks.entry(config, "model"), tensors)
        check_description(config, model)
    if model.classes != len(labels):
        raise InputError(
            f"{folder}: the model knows {model.classes} classes, labels.json names {len(labels)}"
        )
    model_checksums.compare(config, folder, model_checksums.MODEL)
    return model, labels, config


def _built(kind: str, config: Any, tensors: dict[str, Tensor]) -> Model:
    if kind == Network.kind or kind in method_names():
        return build_model(kind, config, tensors)
    try:  # a method of the user's own, whose code may meet anything in a file that is not its own
        return build_model(kind, config, tensors)
    except (LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"method {kind} cannot build its model: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _named(where: Path | str) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        said = str(error)
        raise InputError(said if said.startswith(str(where)) else f"{where}: {said}") from error


def load_saved(folder: Path) -> SavedModel:
    """Everything that `save_model` wrote."""
    folder = Path(folder)
    settle_folder(folder)
    model, labels, config = load_model(folder)
    learning = None
    file = folder / "learning.json"
    if file.exists():
        tensors = load_tensors(folder / "learning.safetensors")
        learning = LearningState.from_dict(read_json(file), tensors, str(file))
        with _named(file):
            check_learning(learning, labels, model)
        model_checksums.compare(config, folder, model_checksums.LEARNING)
    inner = ("format", "version", "kind", "model", *model_checksums.NAMES)
    description = {name: value for name, value in config.items() if name not in inner}
    return SavedModel(model=model, labels=tuple(labels), description=description, learning=learning)


def read_description(folder: Path) -> dict[str, Any]:
    """The content of a model's config.json; InputError if it is none, or of a version that cannot be read."""
    if not (folder / "config.json").exists():
        raise InputError(
            f"{folder} holds no model (no config.json). Give a run directory of a finished run, or its model/"
        )
    config = read_json(folder / "config.json")
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise InputError(f"{folder / 'config.json'} does not describe an avcil model")
    if type(config.get("version")) is not int or config["version"] not in READ_VERSIONS:
        raise InputError(
            f"{folder} was written in format version {config.get('version')!r:.40}; this avcil reads version "
            f"{', '.join(map(str, READ_VERSIONS))}. Install the avcil that wrote it, or a newer one"
        )
    return config
