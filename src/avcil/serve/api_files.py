"""Files that the HTTP API receives and sends."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fastapi import UploadFile

from avcil.serve.incoming import Upload
from avcil.serve.service import Service


def zip_model(service: Service, folder: Path) -> None:
    """Write the current model to model.zip in `folder`."""
    service.recognizer.save(folder / "model")
    with zipfile.ZipFile(folder / "model.zip", "w") as archive:
        for path in sorted((folder / "model").iterdir()):
            archive.write(path, f"model/{path.name}")
    shutil.rmtree(folder / "model")


@contextmanager
def saved(files: Sequence[UploadFile]) -> Iterator[list[Upload]]:
    """Save uploads to temporary files with numbers as names."""
    with tempfile.TemporaryDirectory(prefix="avcil-upload-", ignore_cleanup_errors=True) as folder:
        uploads = []
        for number, file in enumerate(files):
            path = Path(folder) / f"{number:04d}"
            with open(path, "wb") as target:
                shutil.copyfileobj(file.file, target)
            name = (file.filename or "clip").replace("\\", "/").rsplit("/", 1)[-1]
            uploads.append(Upload(path, name or "clip"))
        yield uploads
