"""Save and load models as safetensors and JSON; nothing is pickled.

A `Model` is saved as its kind, config and tensors. A model folder has the layout that the Hugging Face Hub expects:

    config.json, model.safetensors, labels.json   the model
    learning.json, learning.safetensors           for further learning; without them a model can only predict
    README.md                                     the model card

A folder is replaced atomically. Its content is untrusted: it is checked when it is loaded, and config.json has
checksums of all files, which detect damage and manual changes, but are not a signature.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from avcil.data.clips import parse_labels
from avcil.encoders.parts import EncoderPart, parts_of
from avcil.errors import InputError
from avcil.methods.model import Model
from avcil.methods.registry import METHODS
from avcil.nn.network import Network
from avcil.saved_models.card import model_card
from avcil.saved_models.checksums import (
    CHECKSUM_KEYS,
    LEARNING_FILES,
    WEIGHT_FILES,
    add_checksums,
    verify_checksums,
)
from avcil.saved_models.description import OLD_UPDATES, UPDATES, check_description
from avcil.saved_models.learning_state import LearningState, check_learning
from avcil.utils import checks
from avcil.utils.files import (
    read_json,
    replace_folder,
    restore_folder,
    write_atomically,
    write_json,
    write_text,
)
from avcil.utils.tensor_files import load_tensors

_FORMAT, VERSION = "avcil-model", 6
_READ_VERSIONS = (1, 2, 3, 4, 5, 6)
"""Version 1 has no files for further learning. Versions 2 to 4 have other statistics of BLADE, which are converted when
they are read (`methods._saved_statistics`). Up to version 4, the unknown test of both modalities has its own matrix; up
to version 5, it has the scores of the head (`RelativeDistance.from_tensors`)."""
ONNX_FILE = "model.onnx"
"""A model can be exported into its folder. The file is removed when the model is replaced, because it is outdated."""
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
"""The label of clips to be rejected: the model learns it as a class, but never predicts it."""


@dataclass(frozen=True, kw_only=True)
class SavedModel:
    """The content of a model folder."""

    model: Model
    labels: tuple[str, ...]
    """In the order of learning."""
    description: dict[str, Any]
    """Entries of config.json on method, modality, encoders of the features, metrics and history."""
    learning: LearningState | None = None
    """For further learning; None if the model can only predict."""

    @cached_property
    def dtype(self) -> torch.dtype:
        """The dtype of the model's tensors. Cached, because `Model.tensors` can take milliseconds."""
        return next(tensor.dtype for tensor in self.model.tensors().values() if tensor.is_floating_point())

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels that can be predicted, in the order of learning."""
        return tuple(label for label in self.labels if label != BACKGROUND)

    def parts(self, modality: str) -> tuple[EncoderPart, ...]:
        """The encoders of the features of "audio" or "visual"; none if the model does not use the modality."""
        spec = self.description.get(modality)
        return parts_of(spec["encoder"], spec["shape"][-1]) if spec else ()


def unknown_classes(unknown: Sequence[str], classes: Sequence[str]) -> InputError:
    """The error if a model with `classes` lacks some classes."""
    return InputError(
        f"this model has no class {', '.join(map(repr, unknown))}. Its classes: {', '.join(classes)}"
    )


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
    """Write a model folder; an existing model is replaced atomically.

    Args:
        folder: The folder.
        model: The model.
        labels: Its classes.
        description: Further entries of config.json.
        learning: For further learning.
        name: OWNER/NAME on the Hugging Face Hub, for the model card.
        license: A license identifier, for the model card.

    Raises:
        InputError: The folder has files that are not part of a model.
    """
    folder = Path(folder)
    _check_no_other_files(folder)
    part = folder.with_name(f".{folder.name}.new")
    config = {"format": _FORMAT, "version": VERSION, "kind": model.kind, "model": model.to_config()}
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
        write_json(part / "config.json", add_checksums(config, part))

    replace_folder(folder, part, write)


def _check_no_other_files(folder: Path) -> None:
    if folder.is_dir():
        others = sorted(entry.name for entry in folder.iterdir() if entry.name not in MODEL_FILES)
        if others:
            raise InputError(
                f"{folder} contains {', '.join(others[:3])}, which is not part of a model, so it is not replaced. "
                "Choose another folder"
            )
    elif folder.exists():
        raise InputError(f"{folder} is a file, not a folder. Choose another --out")


def _build_model(kind: str, config: dict[str, Any], tensors: dict[str, Tensor]) -> Model:
    """Build a network, or the model of a closed-form method."""
    if kind == Network.kind:
        return Network.from_config(config, tensors).eval()
    from avcil.methods.base import ClosedFormMethod
    from avcil.methods.registry import method_of_kind

    method = method_of_kind(kind)  # not a path: a model folder must not be able to run code
    if not issubclass(method, ClosedFormMethod):
        raise InputError(
            f"the kind of the model is {kind!r}, but this method trains a network: it is damaged"
        )
    return method.load_model(config, tensors)


def load_model(folder: Path) -> tuple[Model, list[str], dict[str, Any]]:
    """Load a model without its learning state.

    Returns:
        The model, its class names in order, and the content of config.json.

    Raises:
        InputError: A file is missing, damaged, changed after it was written, or inconsistent with the others.
    """
    folder = Path(folder)
    config = read_description(folder)
    with _error_prefix(folder / "labels.json"):
        labels = parse_labels(read_json(folder / "labels.json"))
    tensors = load_tensors(folder / "model.safetensors")
    with _error_prefix(f"{folder}: config.json and model.safetensors do not fit each other"):
        checks.finite(tensors)
        kind = checks.entry(config, "kind")
        if not isinstance(kind, str):
            raise InputError(f"kind is {kind!r:.60}; it must be a string")
        model = _build(kind, checks.entry(config, "model"), tensors)
        check_description(config, model)
    if model.classes != len(labels):
        raise InputError(f"{folder}: the model has {model.classes} classes, labels.json has {len(labels)}")
    verify_checksums(config, folder, WEIGHT_FILES)
    return model, labels, config


def _build(kind: str, config: Any, tensors: dict[str, Tensor]) -> Model:
    if kind == Network.kind or kind in METHODS.builtin_names():
        return _build_model(kind, config, tensors)
    try:  # a method of the user may not check the content of files
        return _build_model(kind, config, tensors)
    except (LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"method {kind} cannot build its model: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _error_prefix(prefix: Path | str) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        text = str(error)
        raise InputError(text if text.startswith(str(prefix)) else f"{prefix}: {text}") from error


def load_saved(folder: Path) -> SavedModel:
    """Load a model folder with its learning state.

    Raises:
        InputError: A file is missing, damaged, changed after it was written, or inconsistent with the others.
    """
    folder = Path(folder)
    restore_folder(folder)
    model, labels, config = load_model(folder)
    learning = None
    file = folder / "learning.json"
    if file.exists():
        tensors = load_tensors(folder / "learning.safetensors")
        learning = LearningState.from_dict(read_json(file), tensors, str(file))
        with _error_prefix(file):
            check_learning(learning, labels, model)
        verify_checksums(config, folder, LEARNING_FILES)
    other = ("format", "version", "kind", "model", *CHECKSUM_KEYS)
    description = {name: value for name, value in config.items() if name not in other}
    if OLD_UPDATES in description:
        description[UPDATES] = description.pop(OLD_UPDATES)
    return SavedModel(model=model, labels=tuple(labels), description=description, learning=learning)


def read_description(folder: Path) -> dict[str, Any]:
    """The content of a model's config.json; InputError if it is invalid or has an unknown version."""
    if not (folder / "config.json").exists():
        raise InputError(
            f"{folder} is not a model folder (no config.json). Give the directory of a finished run, or its model/"
        )
    config = read_json(folder / "config.json")
    if not isinstance(config, dict) or config.get("format") != _FORMAT:
        raise InputError(f"{folder / 'config.json'} is not the config of an avcil model")
    if type(config.get("version")) is not int or config["version"] not in _READ_VERSIONS:
        raise InputError(
            f"{folder} has format version {config.get('version')!r:.40}; this version of avcil reads "
            f"{', '.join(map(str, _READ_VERSIONS))}. Install the version of avcil that wrote it, or a newer one"
        )
    return config
