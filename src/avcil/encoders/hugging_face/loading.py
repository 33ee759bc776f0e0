"""Getting a Hugging Face model from its hub or a local folder: whole, frozen, in float32, and named exactly.

A model is named by its hub name (`google/vit-base-patch16-224`, with `@REVISION` behind it if a certain one
is wanted) or by a local folder that holds config.json and the weights. Weights are read from safetensors, or
by torch's restricted loader; code that comes with a model is never run.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from avcil.encoders.device import Placed
from avcil.errors import InputError
from avcil.utils.files import read_json
from avcil.utils.input_files import open_regular
from avcil.utils.tensor_files import read_layout

WEIGHTS_VARIABLE = "AVCIL_WEIGHTS"
"""A folder in which weights are looked for by their last name where their path is not there any more."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a model comes from: a hub name with a revision, or a local folder."""

    place: str
    revision: str | None = None
    is_local: bool = False

    def __str__(self) -> str:
        return f"{self.place}@{self.revision}" if self.revision else self.place

    @classmethod
    def of(cls, text: str) -> Source:
        """What the user wrote behind `hf:`.

        >>> Source.of("org/model@abc123")
        Source(place='org/model', revision='abc123', is_local=False)
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
                    f"{path} is no Hugging Face model: it has no config.json. Name the folder that "
                    "`save_pretrained` or `hf download` filled"
                )
            if path.is_dir():
                return cls(place=str(path), is_local=True)
            raise InputError(f"{path} is a file; name the folder that holds config.json and the weights")
        if text.startswith((".", "/", "~")) or text.count("/") > 1:
            raise InputError(
                f"there is no folder {text}. Name one that holds config.json and the weights, a hub name "
                f"(ORGANIZATION/MODEL), or set {WEIGHTS_VARIABLE} to the folder that it was moved to"
            )
        place, _, revision = text.partition("@")
        return cls(place=place, revision=revision or None)


def local_path(text: str) -> Path | None:
    """The file or folder of this path; if a full path is gone, that of its last name in $AVCIL_WEIGHTS; None
    if there is neither."""
    path = Path(text).expanduser()
    if path.exists():
        return path.absolute()
    moved = os.environ.get(WEIGHTS_VARIABLE)
    if moved and path.is_absolute() and (Path(moved) / path.name).exists():
        return (Path(moved) / path.name).absolute()
    return None


def lasting_name(text: str) -> str:
    """A source as a fingerprint names it: a path in full, so that it holds from any folder."""
    path = Path(text).expanduser()
    return str(path.absolute()) if path.exists() else text


def need_transformers() -> ModuleType:
    """The transformers library, or an error that says how to get it."""
    try:
        import transformers
    except ImportError:
        raise InputError(
            "this encoder needs transformers, which is not installed. Install it with: "
            "pip install 'avcil[encoders]'"
        ) from None
    return transformers


def load_config(source: Source) -> tuple[Any, Source]:
    """The model's configuration, whose `model_type` names the family, and the source with its commit."""
    transformers = need_transformers()
    if not source.is_local:
        path = hub_file(source, "config.json")
        if path is None:
            raise InputError(f"the model {source} has no config.json: it is none of transformers' models")
        source = replace(source, revision=path.parent.name)
    with _explained(source):
        return transformers.AutoConfig.from_pretrained(source.place, revision=source.revision), source


def hub_file(source: Source, name: str) -> Path | None:
    """A file that comes with the model, downloaded once; None if it is known to have none of this name.

    The hub's cache keeps it in a folder that has the commit as its name.
    """
    if source.is_local:
        path = Path(source.place) / name
        return path if path.is_file() else None
    need_transformers()
    from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    with _explained(source):
        try:
            return Path(hf_hub_download(source.place, name, revision=source.revision))
        except LocalEntryNotFoundError:  # no network, which says nothing about the file
            if try_to_load_from_cache(source.place, name, revision=source.revision) is _CACHED_NO_EXIST:
                return None
            raise
        except EntryNotFoundError:
            return None


def load_settings(source: Source, *names: str) -> dict[str, Any] | None:
    """The first of these JSON files that comes with the model, or `FILE#KEY` of one; None if it has none."""
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
    """The type of a model of the package transformers: its layers and its `config` differ between families."""

    config: Any

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


def load_model(
    source: Source, class_name: str, config: Any, *, may_lack: Sequence[str] = (), **options: Any
) -> TransformersModel:
    """The frozen model in float32, attention computed by torch's fused operator where the model can.

    :param may_lack: parts of weight names that no output of an encoder depends on.
    :raises InputError: if weights are missing or have other shapes; weights of heads and decoders are left.
    """
    transformers = need_transformers()
    if source.is_local:
        for path in sorted(Path(source.place).glob("*.safetensors")):
            with open_regular(path) as file:
                read_layout(file, path)
    with _explained(source):
        model_class = getattr(transformers, class_name)
        model, found = model_class.from_pretrained(
            source.place,
            config=config,
            revision=source.revision,
            dtype=torch.float32,
            attn_implementation="sdpa" if model_class._supports_sdpa else "eager",
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, together with what is missing
            **options,
        )
    missing = [key for key in found["missing_keys"] if not any(part in key for part in may_lack)]
    mismatched = [str(entry[0]) for entry in found["mismatched_keys"]]
    if missing or mismatched:
        raise InputError(
            f"the weights of {source.place} do not fill a {class_name}: "
            + "; ".join(
                f"{len(keys)} {what} ({', '.join(sorted(keys)[:3])}{', …' if len(keys) > 3 else ''})"
                for what, keys in (("are missing", missing), ("have another shape", mismatched))
                if keys
            )
            + ". Download the model again, or correct its config.json"
        )
    return model.eval().requires_grad_(False)


def state_hash(model: torch.nn.Module) -> str:
    """SHA-256 of the model's weights in any order and under any names (libraries rename them)."""
    digests = []
    for tensor in model.state_dict().values():
        array = tensor.detach().cpu().contiguous().numpy()
        digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.data if array.size else b"")
        digests.append(digest.hexdigest())
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


class HuggingFaceModel(Placed):
    """What the encoders of sound and of vision remember alike of their model."""

    name: str
    version: ClassVar[int]
    source: Source
    model_type: str
    _model: TransformersModel
    options: dict[str, Any]

    def _lasting(self, source: str) -> str:
        """The source as a store names it: a folder by its place, a hub model with its commit."""
        return lasting_name(source) if self.source.is_local else str(self.source)

    def fingerprint(self) -> dict[str, Any]:
        """Name, version, options (the source with its commit on the hub), weight hash, family and
        preprocessing, as JSON."""
        return {
            "name": self.name,
            "version": self.version,
            "options": dict(self.options),
            "weights": self._weights,
            "family": self.model_type,
            "preprocessing": self._preprocessing_fingerprint(),
        }

    def _preprocessing_fingerprint(self) -> dict[str, Any]:
        raise NotImplementedError

    @cached_property
    def _weights(self) -> str:
        return state_hash(self._model)


def square(value: int | Sequence[int] | Mapping[str, int], what: str) -> int:
    """The side of a square that a configuration gives as one number or two equal ones."""
    if isinstance(value, int):
        return value
    sides = set(value.values() if isinstance(value, Mapping) else value)
    if len(sides) != 1:
        raise InputError(f"the model's {what} is {value}; only square ones can be used")
    return int(sides.pop())


@contextlib.contextmanager
def _explained(source: Source) -> Iterator[None]:
    """Transformers without its bars and remarks, and its many errors in one."""
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
        said = " ".join(str(error).split()).rstrip(".")
        said = said if len(said) < 300 else said[:300] + "…"
        if isinstance(error, pickle.UnpicklingError):  # torch's words advise to load it unrestricted
            said = "its weights are a pickle that asks for more than tensors, and may be hostile"
        where = (
            "Its vision part is one of the library timm, which needs a torchvision that fits your torch; install "
            "both, or take the model for the sound alone (--audio)"
            if "timm library" in said
            else "Take torchvision out (pip uninstall torchvision): it does not fit torch, and avcil needs none"
            if "torchvision" in said
            else "Look into the folder: it must hold config.json and model.safetensors of a model that this "
            "transformers knows"
            if source.is_local
            else "Check the name and the network. A model that was downloaded before is used with "
            "HF_HUB_OFFLINE=1; a local copy is named by its folder behind the colon: hf:/path/to/folder"
        )
        raise InputError(f"the model {source} cannot be loaded: {said}. {where}") from None
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
