"""Models on the Hugging Face hub, by the client library `huggingface_hub` (extra [hub])."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from avcil.errors import AvcilError, InputError
from avcil.models.saved import MODEL_FILES


def download(name: str) -> Path:
    """The model OWNER/NAME of the hub, in the library's cache."""
    client = _client(name)
    try:
        return Path(client.snapshot_download(name, allow_patterns=sorted(MODEL_FILES)))
    except Exception as error:  # the library's errors are many: of the network, of rights, of names
        raise AvcilError(f"{name} cannot be fetched from the hub: {type(error).__name__}: {error}") from error


def upload(save: Callable[[Path], None], name: str, *, private: bool) -> str:
    """Upload what `save` writes into a folder as the model OWNER/NAME; its address."""
    client = _client(name)
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder) / "model")
        try:
            address = client.create_repo(name, private=private, exist_ok=True)
            client.upload_folder(repo_id=name, folder_path=Path(folder) / "model", commit_message="Model")
        except Exception as error:
            raise AvcilError(
                f"{name} cannot be uploaded to the hub: {type(error).__name__}: {error}. Log in with: hf auth login"
            ) from error
    return str(address)


def _client(name: str) -> Any:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise InputError(f"{name!r} is neither a folder nor a name of the hub (OWNER/NAME)")
    try:
        import huggingface_hub
    except ImportError:
        raise InputError("the hub needs a library. Install it with: pip install 'avcil[hub]'") from None
    return huggingface_hub
