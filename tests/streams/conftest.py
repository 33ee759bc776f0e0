"""A store with two domains."""

from __future__ import annotations

from pathlib import Path

import pytest

from avcil.features.join import join


@pytest.fixture(scope="module")
def domain_store(store, tmp_path_factory) -> Path:
    """The store twice with two prefixes; the features of the second domain are shifted."""
    folder = tmp_path_factory.mktemp("domains")
    (folder / "clear").symlink_to(store)
    (folder / "noisy").symlink_to(store)
    join([folder / "clear", folder / "noisy"], folder / "both")
    return folder / "both"
