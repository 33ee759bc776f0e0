"""config.json of a run: everything that its result depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avcil.datasets import Benchmark
from avcil.errors import InputError
from avcil.models import checks
from avcil.runs.paths import RunPaths
from avcil.saved_models.learning_settings import LearningSettings
from avcil.utils.files import read_json


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A resolved configuration."""

    settings: LearningSettings
    benchmark: Benchmark
    store_path: str
    store_fingerprint: str

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON."""
        features = {"path": self.store_path, "fingerprint": self.store_fingerprint}
        return self.settings.to_dict() | {"benchmark": self.benchmark.to_dict(), "features": features}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> RunConfig:
        """The configuration that `to_dict` gave; InputError if it is something else."""
        features = checks.entry(value, "features")
        for name in ("path", "fingerprint"):
            if not isinstance(checks.entry(features, name), str):
                raise InputError(f"features.{name} is {features[name]!r:.60}; it must be a string")
        return cls(
            settings=LearningSettings.from_dict(value),
            benchmark=Benchmark.from_dict(checks.entry(value, "benchmark")),
            store_path=features["path"],
            store_fingerprint=features["fingerprint"],
        )


def read_config(folder: Path) -> RunConfig:
    """The configuration of the run in `folder`; InputError if it is missing or damaged."""
    path = RunPaths(Path(folder)).config
    value = read_json(path)
    try:
        return RunConfig.from_dict(value)
    except InputError as error:
        raise damaged(path, str(error)) from None


def damaged(path: Path, what: str) -> InputError:
    """The error for a file of a run that does not hold what it must."""
    return InputError(
        f"{path} is damaged: {what}. Restore it from a copy, or train the run again into another folder"
    )


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """In words, how two configurations differ; empty where they describe the same run.

    A store may have been moved, so its path does not count; its fingerprint does.
    """
    differing = [entry for entry in differences(old, new) if entry[0] != "features.path"]
    return "; ".join(_in_words(*entry) for entry in differing[:6])


def _in_words(name: str, old: Any, new: Any) -> str:
    if name == "features.fingerprint":
        return "the feature store has changed: it holds other clips, labels, splits or features"
    return f"{name}: there {old!r}, now {new!r}"


def differences(old: Any, new: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    """Name, old and new value of each entry in which two JSON values differ; names of nested entries are dotted."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in dict.fromkeys([*old, *new]):
            found += differences(old.get(key), new.get(key), f"{name}.{key}" if name else key)
        return found
    return [] if old == new else [(name, old, new)]
