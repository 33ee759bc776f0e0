"""Download and upload models with the Hugging Face Hub (extra [hub])."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from avcil.errors import AvcilError, InputError
from avcil.saved_models.folder import MODEL_FILES, ONNX_FILE

_OPTIONAL = ("learning.json", "learning.safetensors", ONNX_FILE)
"""These files of an earlier version of the model are deleted on the hub if the new version has none."""


def download(name: str, revision: str | None = None) -> Path:
    """Download the model OWNER/NAME into the cache of huggingface_hub; `revision` is a branch, tag or commit."""
    client = _client(name)
    files = sorted(MODEL_FILES - {ONNX_FILE})
    try:
        return Path(client.snapshot_download(name, revision=revision, allow_patterns=files))
    except Exception as error:  # errors of network, permissions and names have many types
        raise AvcilError(f"{name} is not a local folder, and {_failure('downloaded from', error)}") from error


def upload(save: Callable[[Path], None], name: str, *, private: bool) -> str:
    """Upload the folder that `save` writes as the model OWNER/NAME, and return its URL."""
    client = _client(name)
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "model"
        save(part)
        try:
            url = client.create_repo(name, private=private, exist_ok=True)
            client.upload_folder(
                repo_id=name, folder_path=part, commit_message="Model", delete_patterns=list(_OPTIONAL)
            )
        except Exception as error:
            raise AvcilError(f"{name} {_failure('uploaded to', error)}") from error
    return str(url)


def _failure(action: str, error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return (
        f"cannot be {action} the hub: {type(error).__name__}: {text}. If permissions are missing, log in with: "
        "hf auth login"
    )


def _client(name: str) -> Any:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise InputError(f"{name!r} is neither a folder nor a name on the hub (OWNER/NAME)")
    try:
        import huggingface_hub
    except ImportError:
        raise InputError("this needs huggingface_hub. Install it with: pip install 'avcil[hub]'") from None
    return huggingface_hub
