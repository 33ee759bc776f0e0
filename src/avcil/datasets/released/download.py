"""Downloading the authors' features from the Hugging Face Hub: one archive per benchmark, in parts of up to 50 GB.

`$HF_ENDPOINT` is a mirror of the whole Hub, `base_url` a folder with the parts.
"""

from __future__ import annotations

import os
from pathlib import Path

from avcil.datasets.fetch import cache_folder
from avcil.datasets.protocols import LEAK_FREE, Protocol
from avcil.utils.download import RetryPolicy, download

_SITE = "https://huggingface.co"
_DATA_SET = "datasets/wiberg/AV-CIL_features/resolve/main"


def features_folder(protocol: Protocol, cache: Path | None = None) -> Path:
    """Default folder of the parts; a leak-free benchmark shares those of the original."""
    return (cache or cache_folder()) / "features" / protocol.name.removesuffix(LEAK_FREE)


def download_features(
    protocol: Protocol,
    folder: Path | None = None,
    *,
    base_url: str | None = None,
    retry: RetryPolicy | None = None,
) -> Path:
    """Download the features of a benchmark: 19.7 GB for ave-ci, 111 GB for ks-ci, 295 GB for vs100-ci.

    Complete parts are kept, incomplete ones are resumed. Each part is verified by the SHA-256 that the Hub sends.

    Args:
        protocol: The benchmark.
        folder: Where to write the parts; None is a folder in the cache.
        base_url: Address of a folder with the parts; None is the Hub.
        retry: When to retry.

    Returns:
        The folder.

    Raises:
        AvcilError: A download failed.
    """
    folder = features_folder(protocol) if folder is None else Path(folder)
    base = base_url or f"{(os.environ.get('HF_ENDPOINT') or _SITE).rstrip('/')}/{_DATA_SET}"
    for part in protocol.feature_parts:
        download(
            f"{base.rstrip('/')}/{part}",
            folder / part,
            retry=retry,
            offline_advice=f"Without a connection: copy {', '.join(protocol.feature_parts)} to this machine, "
            f"then run: avcil import-features FOLDER --benchmark {protocol.name} --out STORE",
        )
    return folder
