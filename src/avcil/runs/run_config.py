"""config.json of a run: the settings and data that determine the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avcil.datasets import Benchmark
from avcil.errors import InputError
from avcil.runs.paths import RunPaths
from avcil.saved_models.learning_settings import LearningSettings
from avcil.utils import checks
from avcil.utils.files import read_json

_MAX_VALUE_LENGTH = 100


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A resolved configuration."""

    settings: LearningSettings
    benchmark: Benchmark
    store_path: str
    store_fingerprint: str
    stream: Mapping[str, Any] | None = None
    """Name, options, seed and fingerprint of the stream; None for class-incremental learning."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        features = {"path": self.store_path, "fingerprint": self.store_fingerprint}
        stream = {} if self.stream is None else {"stream": dict(self.stream)}
        return (
            self.settings.to_dict()
            | {"benchmark": self.benchmark.to_dict()}
            | stream
            | {"features": features}
        )

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> RunConfig:
        """Inverse of `to_dict`; InputError for an invalid value."""
        features = checks.entry(value, "features")
        stream = value.get("stream")
        if stream is not None and not (isinstance(stream, dict) and isinstance(stream.get("name"), str)):
            raise InputError(f"stream is {stream!r:.60}; it must be an object with a name")
        return cls(
            settings=LearningSettings.from_dict(value),
            benchmark=Benchmark.from_dict(checks.entry(value, "benchmark")),
            store_path=checks.typed(features, "path", str),
            store_fingerprint=checks.typed(features, "fingerprint", str),
            stream=stream,
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
    """The error for a file of a run with invalid content."""
    return InputError(
        f"{path} is damaged: {what}. Restore it from a copy, or train the run again into another folder"
    )


def describe_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The differences of two configurations as text; empty if they describe the same run.

    The path of the feature store is ignored, because a store can be moved; its fingerprint is compared. If the methods
    differ, their options are not listed.
    """
    changes = differences(old, new)
    ignored = (
        ("features.path", "method_options.") if old.get("method") != new.get("method") else ("features.path",)
    )
    lines = [
        "the feature store has changed: it has other clips, labels, splits or features"
        if name == "features.fingerprint"
        else f"{name}: {_shortened(before)} in this run, {_shortened(after)} in the command"
        for name, before, after in changes
        if not name.startswith(ignored)
    ]
    return "; ".join(lines[:6])


def _shortened(value: Any) -> str:
    """A value as text; of a long one, such as the classes of all steps, the beginning."""
    text = repr(value)
    return text if len(text) <= _MAX_VALUE_LENGTH else f"{text[:_MAX_VALUE_LENGTH]}..."


def differences(old: Any, new: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    """Dotted name, old and new value of each entry in which two JSON values differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        changes = []
        for key in dict.fromkeys([*old, *new]):
            changes += differences(old.get(key), new.get(key), f"{name}.{key}" if name else key)
        return changes
    return [] if old == new else [(name, old, new)]
