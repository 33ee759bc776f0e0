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
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from avcil.errors import InputError
from avcil.files import read_json

WEIGHTS_VARIABLE = "AVCIL_WEIGHTS"
"""A folder in which weights are looked for by their last name where their path is not there any more."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a model comes from: a hub name with a revision, or a local folder."""

    place: str
    revision: str | None = None
    is_local: bool = False

    @classmethod
    def of(cls, text: str) -> Source:
        """What the user wrote behind `hf:`.

        >>> Source.of("org/model@abc123")
        Source(place='org/model', revision='abc123', is_local=False)
        """
        if not text:
            raise InputError(
                "a model is missing: give hf:ORGANISATION/MODEL of the Hugging Face hub, "
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
                f"(ORGANISATION/MODEL), or set {WEIGHTS_VARIABLE} to the folder that it was moved to"
            )
        place, _, revision = text.partition("@")
        return cls(place=place, revision=revision or None)


def local_path(text: str) -> Path | None:
    """The file or folder of this path, or of its last name in $AVCIL_WEIGHTS; None if there is neither."""
    path = Path(text).expanduser()
    if path.exists():
        return path.absolute()
    moved = os.environ.get(WEIGHTS_VARIABLE)
    if moved and (Path(moved) / path.name).exists():
        return (Path(moved) / path.name).absolute()
    return None


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


def load_config(source: Source) -> Any:
    """The model's configuration; its `model_type` names the family."""
    with _explained(source):
        return need_transformers().AutoConfig.from_pretrained(source.place, revision=source.revision)


def hub_file(source: Source, name: str) -> Path | None:
    """A file that comes with the model, downloaded once; None if it has none of this name."""
    need_transformers()
    from transformers.utils import cached_file

    with _explained(source):
        path = cached_file(
            source.place, name, revision=source.revision, _raise_exceptions_for_missing_entries=False
        )
    return None if path is None else Path(path)


def load_settings(source: Source, *names: str) -> dict[str, Any] | None:
    """The JSON of the first of these files that comes with the model; None if it has none of them."""
    for name in names:
        path = hub_file(source, name)
        if path is not None:
            return read_json(path)
    return None


def load_model(
    source: Source, class_name: str, config: Any, *, may_lack: Sequence[str] = (), **options: Any
) -> torch.nn.Module:
    """The frozen model in float32, attention computed by torch's fused operator where the model can.

    :param may_lack: parts of weight names that no output of an encoder depends on.
    :raises InputError: if weights are missing or have other shapes; weights of heads and decoders are left.
    """
    model_class = getattr(need_transformers(), class_name)
    with _explained(source):
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


def commit_of(config: Any, source: Source) -> str | None:
    """The commit on the hub that the model came from; None for a local folder."""
    return None if source.is_local else getattr(config, "_commit_hash", None) or source.revision


def square(value: int | Sequence[int] | Mapping[str, int], what: str) -> int:
    """The side of a square that a configuration gives as one number or two equal ones."""
    values = value.values() if isinstance(value, Mapping) else value
    sides = {value} if isinstance(value, int) else set(values)
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
        where = (
            "Look into the folder: it must hold config.json and model.safetensors of a model that this "
            "transformers knows"
            if source.is_local
            else "Check the name and the network; a model that was downloaded before is used with "
            "HF_HUB_OFFLINE=1, and a local copy is named by its folder: hf:/path/to/folder"
        )
        raise InputError(f"the model {source.place} cannot be loaded: {said}. {where}") from None
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
