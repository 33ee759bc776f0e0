"""Download of the authors' features: a data set on Hugging Face, an archive a benchmark, in parts of up to
50 GB.

`$HF_ENDPOINT` names a mirror of the whole site, `base_url` a folder with the parts.
"""

from __future__ import annotations

import os
from pathlib import Path

from avcil.datasets.fetch import cache_folder
from avcil.datasets.protocols import LEAK_FREE, Protocol
from avcil.utils.download import RetryPolicy, download

SITE = "https://huggingface.co"
DATA_SET = "datasets/wiberg/AV-CIL_features/resolve/main"


def features_folder(protocol: Protocol, cache: Path | None = None) -> Path:
    """Default folder of the parts; a leak-free benchmark shares those of the original."""
    return (cache or cache_folder()) / "features" / protocol.name.removesuffix(LEAK_FREE)


def download_features(
    protocol: Protocol,
    folder: Path | None = None,
    *,
    base_url: str | None = None,
    patience: RetryPolicy | None = None,
) -> Path:
    """Download the parts of the features of a benchmark that are missing in `folder`; returns the folder.

    Parts that are whole are kept, a part cut short goes on where it ended, and each is checked against the
    SHA-256 that Hugging Face states. 19.7 GB for ave-ci, 111 GB for ks-ci, 295 GB for vs100-ci.
    """
    folder = features_folder(protocol) if folder is None else Path(folder)
    base = base_url or f"{os.environ.get('HF_ENDPOINT') or SITE}".rstrip("/") + f"/{DATA_SET}"
    for part in protocol.feature_parts:
        download(
            f"{base.rstrip('/')}/{part}",
            folder / part,
            patience=patience,
            otherwise=f"Without a connection: copy {', '.join(protocol.feature_parts)} to this machine, "
            f"then run: avcil import-features FOLDER --benchmark {protocol.name} --out STORE",
        )
    return folder
