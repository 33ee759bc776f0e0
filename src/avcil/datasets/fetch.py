"""Released split files: downloaded into a cache or copied from a folder; checksums are always verified.

The cache is `$AVCIL_CACHE`, else `$XDG_CACHE_HOME/avcil`, else `~/.cache/avcil`.
"""

from __future__ import annotations

import os
from operator import methodcaller
from pathlib import Path

from avcil.datasets.protocols import LEAK_FREE, SPLIT_FILES, Protocol
from avcil.errors import InputError
from avcil.utils.download import RetryPolicy, download
from avcil.utils.files import file_sha256, write_atomically

COMMIT = "430c7044324cdc8d4ae9e8e1ede69a30a1891b71"
"""The commit of the release that holds the split files; they are the same at its last commit, 6dd105d."""
BASE_URL = f"https://raw.githubusercontent.com/weiguoPian/AV-CIL_ICCV2023/{COMMIT}/data"


def cache_folder() -> Path:
    """The folder for downloads."""
    if os.environ.get("AVCIL_CACHE"):
        return Path(os.environ["AVCIL_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "avcil"


def fetch_splits(
    protocol: Protocol,
    *,
    copy: Path | None = None,
    cache: Path | None = None,
    base_url: str = BASE_URL,
    patience: RetryPolicy | None = None,
) -> Path:
    """Put the split files into the cache, from the folder `copy` or by download, and return their folder.

    Raises `InputError` for a copy that lacks a file or differs from the released one, `AvcilError` when the
    download fails.
    """
    target = _splits_folder(protocol, cache)
    source = None if copy is None else _folder_of_copy(protocol, Path(copy))
    for name in SPLIT_FILES:
        if source is not None:
            _check(source / name, protocol)
            content = (source / name).read_bytes()
            write_atomically(target / name, methodcaller("write", content))
        else:
            download(
                f"{base_url.rstrip('/')}/{protocol.folder}/{name}",
                target / name,
                sha256=protocol.sha256[name],
                patience=patience or RetryPolicy(attempts=3),
                otherwise=f"Without a connection: copy data/{protocol.folder} of the release "
                "(github.com/weiguoPian/AV-CIL_ICCV2023) to this machine and run: "
                f"avcil benchmark fetch {protocol.name} --from DIR",
            )
    return target


def find_splits(protocol: Protocol, *, copy: Path | None = None, cache: Path | None = None) -> Path:
    """The folder of the split files, `copy` or the cache, with verified checksums; nothing is downloaded."""
    folder = _splits_folder(protocol, cache) if copy is None else _folder_of_copy(protocol, Path(copy))
    if copy is None and not all((folder / name).is_file() for name in SPLIT_FILES):
        raise InputError(
            f"the split files of {protocol.name} are not in the cache ({folder}). Get them with: avcil benchmark "
            f"fetch {protocol.name}, or from a copy of the release with: avcil benchmark fetch "
            f"{protocol.name} --from DIR"
        )
    for name in SPLIT_FILES:
        _check(folder / name, protocol)
    return folder


def _splits_folder(protocol: Protocol, cache: Path | None = None) -> Path:
    """The cache folder of the split files; a leak-free benchmark shares those of the original."""
    return (cache or cache_folder()) / "splits" / protocol.name.removesuffix(LEAK_FREE)


def _folder_of_copy(protocol: Protocol, copy: Path) -> Path:
    """The folder with the three files: `copy` itself, or the folder of the release in it."""
    candidates = [copy / protocol.folder, copy / "data" / protocol.folder, copy]
    for candidate in candidates:
        if all((candidate / name).is_file() for name in SPLIT_FILES):
            return candidate
    raise InputError(
        f"no split files of {protocol.name} under {copy}: {', '.join(SPLIT_FILES)} were looked for in "
        f"{', '.join(map(str, candidates))}. Give the release's folder data/{protocol.folder}"
    )


def _check(path: Path, protocol: Protocol) -> None:
    digest = file_sha256(path)
    if digest != protocol.sha256[path.name]:
        raise InputError(
            f"{path} is not the released file of {protocol.name}: its SHA-256 is {digest[:16]}…, published is "
            f"{protocol.sha256[path.name][:16]}…. Use an unmodified copy of the release's data/{protocol.folder}, "
            f"or run: avcil benchmark fetch {protocol.name}"
        )
