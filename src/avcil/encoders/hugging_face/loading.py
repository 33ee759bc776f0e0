"""Loading frozen Hugging Face models in float32, from the Hub or a local folder.

A model is given by its hub name (`google/vit-base-patch16-224`, optionally with `@REVISION`) or by a local folder with
config.json and weights. Weights are read from safetensors, or by torch's restricted loader; code of a model is never
run.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch

from avcil.encoders.device import TorchEncoder
from avcil.errors import InputError
from avcil.utils.files import read_json
from avcil.utils.input_files import open_regular
from avcil.utils.tensor_files import read_layout

_WEIGHTS_VARIABLE = "AVCIL_WEIGHTS"
"""Folder in which weights are searched by their last path component if their path does not exist."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """The source of a model: a hub name with revision, or a local folder."""

    location: str
    revision: str | None = None
    is_local: bool = False

    def __str__(self) -> str:
        return f"{self.location}@{self.revision}" if self.revision else self.location

    @classmethod
    def of(cls, text: str) -> Source:
        """Parse the text after `hf:`.

        >>> Source.of("org/model@abc123")
        Source(location='org/model', revision='abc123', is_local=False)
        """
        if not text:
            raise InputError(
                "a model is missing: give hf:ORGANIZATION/MODEL of the Hugging Face hub, "
                "or hf:/path/to/folder"
            )
        path = local_path(text)
        if path is not None:
            if path.is_dir() and not (path / "config.json").is_file():
                raise InputError(
                    f"{path} is not a Hugging Face model: it has no config.json. Use the folder that "
                    "`save_pretrained` or `hf download` filled"
                )
            if path.is_dir():
                return cls(location=str(path), is_local=True)
            raise InputError(f"{path} is a file; use the folder with config.json and the weights")
        if text.startswith((".", "/", "~")) or text.count("/") > 1:
            raise InputError(
                f"there is no folder {text}. Use a folder with config.json and the weights, a hub name "
                f"(ORGANIZATION/MODEL), or set {_WEIGHTS_VARIABLE} to the folder that it was moved to"
            )
        location, _, revision = text.partition("@")
        return cls(location=location, revision=revision or None)


def local_path(text: str) -> Path | None:
    """The file or folder at a path; if it does not exist, the one with the same last component in $AVCIL_WEIGHTS, or
    None."""
    path = Path(text).expanduser()
    if path.exists():
        return path.absolute()
    moved = os.environ.get(_WEIGHTS_VARIABLE)
    if moved and path.is_absolute() and (Path(moved) / path.name).exists():
        return (Path(moved) / path.name).absolute()
    return None


def absolute_source(text: str) -> str:
    """The source in a fingerprint, with an absolute path."""
    path = Path(text).expanduser()
    return str(path.absolute()) if path.exists() else text


def need_transformers() -> ModuleType:
    """The module `transformers`; an InputError says how to install it."""
    try:
        import transformers
    except ImportError:
        raise InputError(
            "this encoder needs transformers, which is not installed. Install it with: "
            "pip install 'avcil[encoders]'"
        ) from None
    return transformers


def load_config(source: Source) -> tuple[Any, Source]:
    """The configuration of the model, whose `model_type` is the family, and the source with its commit."""
    transformers = need_transformers()
    if not source.is_local:
        path = hub_file(source, "config.json")
        if path is None:
            raise InputError(f"the model {source} has no config.json, so it is not a model of transformers")
        source = replace(source, revision=path.parent.name)
    with _explained(source):
        return transformers.AutoConfig.from_pretrained(source.location, revision=source.revision), source


def hub_file(source: Source, name: str) -> Path | None:
    """A file of the model, downloaded if necessary; None if it does not exist.

    The cache of the Hub stores it in a folder whose name is the commit.
    """
    if source.is_local:
        path = Path(source.location) / name
        return path if path.is_file() else None
    need_transformers()
    from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    with _explained(source):
        try:
            return Path(hf_hub_download(source.location, name, revision=source.revision))
        except LocalEntryNotFoundError:  # no network: it is unknown whether the file exists
            if try_to_load_from_cache(source.location, name, revision=source.revision) is _CACHED_NO_EXIST:
                return None
            raise
        except EntryNotFoundError:
            return None


def load_settings(source: Source, *names: str) -> dict[str, Any] | None:
    """The first existing JSON file of the model, or `FILE#KEY` of one; None if there is none."""
    for name in names:
        file, _, key = name.partition("#")
        path = hub_file(source, file)
        settings = None if path is None else read_json(path)
        if settings is not None and key:
            settings = settings.get(key)
        if settings is not None:
            return settings
    return None


class TransformersModel(torch.nn.Module):
    """A model of transformers; layers and `config` differ between families."""

    config: Any

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


def load_transformers_model(
    source: Source, class_name: str, config: Any, *, optional_weights: Sequence[str] = (), **options: Any
) -> TransformersModel:
    """Load the frozen model in float32, with torch's fused attention if possible.

    Args:
        optional_weights: Parts of names of weights that do not affect the output.

    Raises:
        InputError: Weights are missing or have wrong shapes. Weights of heads and decoders are ignored.
    """
    transformers = need_transformers()
    if source.is_local:
        for path in sorted(Path(source.location).glob("*.safetensors")):
            with open_regular(path) as file:
                read_layout(file, path)
    with _explained(source):
        model_class = getattr(transformers, class_name)
        model, info = model_class.from_pretrained(
            source.location,
            config=config,
            revision=source.revision,
            dtype=torch.float32,
            attn_implementation="sdpa" if model_class._supports_sdpa else "eager",
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below with missing weights
            **options,
        )
    missing = [key for key in info["missing_keys"] if not any(part in key for part in optional_weights)]
    mismatched = [str(entry[0]) for entry in info["mismatched_keys"]]
    if missing or mismatched:
        raise InputError(
            f"the weights of {source.location} do not fit a {class_name}: "
            + "; ".join(
                f"{len(keys)} {what} ({', '.join(sorted(keys)[:3])}{', …' if len(keys) > 3 else ''})"
                for what, keys in (("are missing", missing), ("have another shape", mismatched))
                if keys
            )
            + ". Download the model again, or correct its config.json"
        )
    return model.eval().requires_grad_(False)


class HuggingFaceModel(TorchEncoder):
    """Base class of encoders with a Hugging Face model."""

    source: Source
    model_type: str
    _model: TransformersModel
    libraries: tuple[str, ...] = ("transformers", "safetensors")

    def _fingerprint_source(self, source: str) -> str:
        """The source in the fingerprint: a folder, or a hub name with its commit."""
        return absolute_source(source) if self.source.is_local else str(self.source)

    def fingerprint(self) -> dict[str, Any]:
        """Also has family and preprocessing. The source in the options is a hub name with its commit, or a folder."""
        own = {"family": self.model_type, "preprocessing": self._preprocessing_fingerprint()}
        return super().fingerprint() | own

    def _preprocessing_fingerprint(self) -> dict[str, Any]:
        raise NotImplementedError


def square(value: int | Sequence[int] | Mapping[str, int], what: str) -> int:
    """The side of a square, given as one number or two equal ones."""
    if isinstance(value, int):
        return value
    sides = set(value.values() if isinstance(value, Mapping) else value)
    if len(sides) != 1:
        raise InputError(f"the model's {what} is {value}; only squares are supported")
    return int(sides.pop())


@contextlib.contextmanager
def _explained(source: Source) -> Iterator[None]:
    """Hide progress bars and warnings of transformers, and convert its errors to InputError."""
    import pickle

    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, pickle.UnpicklingError) as error:
        message = " ".join(str(error).split()).rstrip(".")
        message = message if len(message) < 300 else message[:300] + "…"
        if isinstance(
            error, pickle.UnpicklingError
        ):  # torch's message advises to load it without restrictions
            message = "its weights are a pickle with other content than tensors, which may be malicious"
        where = (
            "Its vision part needs timm and a torchvision that matches your torch; install "
            "both, or use the model for audio only (--audio)"
            if "timm library" in message
            else "Remove torchvision (pip uninstall torchvision): it does not match torch, and avcil does not need it"
            if "torchvision" in message
            else "Check the folder: it must contain config.json and model.safetensors of a model that this "
            "transformers knows"
            if source.is_local
            else "Check the name and the network. A model that was downloaded before is used with "
            "HF_HUB_OFFLINE=1; for a local copy, use hf:/path/to/folder"
        )
        raise InputError(f"the model {source} cannot be loaded: {message}. {where}") from None
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
