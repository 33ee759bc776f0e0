"""Find the feature store of a run, and check that it has not changed.

Check this before a model predicts stored features: features of another encoder are meaningless to the model, and with
other splits, clips that it was trained on can be test clips.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avcil.errors import InputError
from avcil.features import FeatureStore
from avcil.runs.paths import RunPaths
from avcil.runs.run_config import read_config
from avcil.saved_models.folder import read_description

PARTS = {
    "visual": "visual encoder",
    "audio": "audio encoder",
    "sampling": "sampling of clips",
    "dtype": "dtype",
}
"""Keys of a model's description that define its features, and their names in messages."""


def store_of_run(run: Path) -> tuple[FeatureStore | None, str]:
    """The feature store that a run was trained on.

    Args:
        run: The run directory.

    Returns:
        The store and ""; or None and the reason: the folder is a model without a run, or the store is missing,
        damaged, or has changed since.
    """
    run = Path(run)
    paths = RunPaths(run)
    if not paths.is_run or not paths.config.exists():
        return None, f"{run} is a saved model and not a run directory, so its feature store is not known"
    try:
        config = read_config(run)
        store = FeatureStore(config.store_path)
        description = read_description(paths.model) if paths.model.exists() else {}
    except InputError as error:
        return None, str(error)
    if store.fingerprint == config.store_fingerprint:
        return store, ""
    return None, f"the store {store.path} has changed since the run: {_difference(store, description)}"


def _difference(store: FeatureStore, description: Mapping[str, Any]) -> str:
    manifest = store.manifest.to_dict()
    others = [text for key, text in PARTS.items() if key in description and description[key] != manifest[key]]
    if others:
        return f"it was made with another {' and another '.join(others)}"
    return "it has other clips, labels, splits or features"
