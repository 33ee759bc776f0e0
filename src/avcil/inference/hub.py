"""Models on the Hugging Face hub, by the client library `huggingface_hub` (extra [hub])."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from avcil.errors import AvcilError, InputError
from avcil.saved_models.folder import MODEL_FILES, ONNX_FILE

OPTIONAL = ("learning.json", "learning.safetensors", ONNX_FILE)
"""Of a model published earlier under the name: taken away where the new one has none, since they belong to the old."""


def download(name: str, revision: str | None = None) -> Path:
    """The model OWNER/NAME of the hub, in the library's cache; `revision`: a branch, tag or commit of it."""
    client = _client(name)
    wanted = sorted(MODEL_FILES - {ONNX_FILE})
    try:
        return Path(client.snapshot_download(name, revision=revision, allow_patterns=wanted))
    except Exception as error:  # the library's errors are many: of the network, of rights, of names
        raise AvcilError(f"{name} is no folder here, and {_failed('fetched from', error)}") from error


def upload(save: Callable[[Path], None], name: str, *, private: bool) -> str:
    """Upload what `save` writes into a folder as the model OWNER/NAME; its address."""
    client = _client(name)
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "model"
        save(part)
        try:
            address = client.create_repo(name, private=private, exist_ok=True)
            client.upload_folder(
                repo_id=name, folder_path=part, commit_message="Model", delete_patterns=list(OPTIONAL)
            )
        except Exception as error:
            raise AvcilError(f"{name} {_failed('uploaded to', error)}") from error
    return str(address)


def _failed(what: str, error: Exception) -> str:
    said = " ".join(str(error).split()).rstrip(".")
    return (
        f"cannot be {what} the hub: {type(error).__name__}: {said}. If it is a matter of rights, log in with: "
        "hf auth login"
    )


def _client(name: str) -> Any:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise InputError(f"{name!r} is neither a folder nor a name of the hub (OWNER/NAME)")
    try:
        import huggingface_hub
    except ImportError:
        raise InputError("the hub needs a library. Install it with: pip install 'avcil[hub]'") from None
    return huggingface_hub
