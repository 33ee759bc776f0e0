"""The feature store of a run: is it still what the run learnt from?

Whoever asks a model about stored features has to ask here first. Features of another encoder have no meaning for the
model, and other splits can make test clips of clips that were learnt.
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
    "sampling": "way of reading clips",
    "dtype": "dtype",
}
"""What a model's description says of its features, and its name for people."""


def store_of_run(run: Path) -> tuple[FeatureStore | None, str]:
    """The feature store that a run learnt from.

    Args:
        run: The run's folder.

    Returns:
        The store and ""; or None, and why it cannot be used: the folder is a model without its run, the store is gone
        or damaged, or it has changed since.
    """
    run = Path(run)
    paths = RunPaths(run)
    if not paths.is_run or not paths.config.exists():
        return None, f"{run} is a model without its run, which names its feature store"
    try:
        config = read_config(run)
        store = FeatureStore(config.store_path)
        made_with = read_description(paths.model) if paths.model.exists() else {}
    except InputError as error:
        return None, str(error)
    reason = change_since(store, config.store_fingerprint, made_with)
    return (None, reason) if reason else (store, "")


def change_since(store: FeatureStore, fingerprint: str, made_with: Mapping[str, Any]) -> str:
    """How a store differs from what a run or model was made with.

    Args:
        store: The store as it is now.
        fingerprint: The store's fingerprint then.
        made_with: What the model's description says of its features ("visual", "audio", "sampling", "dtype"); may be
            empty.

    Returns:
        The difference in words; "" if there is none.
    """
    if store.fingerprint == fingerprint:
        return ""
    now = store.manifest.to_dict()
    others = [said for name, said in PARTS.items() if name in made_with and made_with[name] != now[name]]
    what = (
        f"it was made with another {' and another '.join(others)}"
        if others
        else "it holds other clips, labels, splits or features"
    )
    return f"the store {store.path} has changed since the run: {what}"
