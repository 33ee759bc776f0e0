"""Getting the released split files, by download or from a copy, into a cache; checksums are always verified.

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

_COMMIT = "430c7044324cdc8d4ae9e8e1ede69a30a1891b71"
"""The commit of the release from which the split files are taken; its last commit, 6dd105d, has the same files."""
_BASE_URL = f"https://raw.githubusercontent.com/weiguoPian/AV-CIL_ICCV2023/{_COMMIT}/data"


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
    base_url: str = _BASE_URL,
    retry: RetryPolicy | None = None,
) -> Path:
    """Put the split files into the cache.

    Args:
        protocol: The benchmark.
        copy: A folder with a copy of the release; None downloads the files.
        cache: The cache folder; None is the default one.
        base_url: Address of the folder `data` of the release, or of a mirror.
        retry: When to retry a download.

    Returns:
        The folder of the split files.

    Raises:
        InputError: A file of the copy is missing or differs from the released one.
        AvcilError: The download failed.
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
                retry=retry or RetryPolicy(attempts=3),
                offline_advice=f"Without a connection: copy data/{protocol.folder} of the release "
                "(github.com/weiguoPian/AV-CIL_ICCV2023) to this machine and run: "
                f"avcil benchmark fetch {protocol.name} --from DIR",
            )
    return target


def find_splits(protocol: Protocol, *, copy: Path | None = None, cache: Path | None = None) -> Path:
    """The folder of the split files, after checking their SHA-256; nothing is downloaded.

    Args:
        protocol: The benchmark.
        copy: A folder with a copy of the release; None uses the cache.
        cache: The cache folder; None is the default one.

    Raises:
        InputError: A file is missing or is not the released one.
    """
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
    """The folder with the three files: `copy` itself, or a folder in it as in the release."""
    candidates = [copy / protocol.folder, copy / "data" / protocol.folder, copy]
    for candidate in candidates:
        if all((candidate / name).is_file() for name in SPLIT_FILES):
            return candidate
    raise InputError(
        f"there are no split files of {protocol.name} in {copy}; needed are {', '.join(SPLIT_FILES)} in one of "
        f"{', '.join(map(str, candidates))}. Give the folder data/{protocol.folder} of the release"
    )


def _check(path: Path, protocol: Protocol) -> None:
    digest = file_sha256(path)
    if digest != protocol.sha256[path.name]:
        raise InputError(
            f"{path} is not the released file of {protocol.name}: its SHA-256 is {digest[:16]}…, published is "
            f"{protocol.sha256[path.name][:16]}…. Use an unmodified copy of the release's data/{protocol.folder}, "
            f"or run: avcil benchmark fetch {protocol.name}"
        )
