"""Check the description of a model in config.json: encoders of its features, metrics, history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from avcil.errors import InputError
from avcil.methods.model import Model
from avcil.utils import checks

_DTYPES = ("float16", "float32")
_MAX_TEXT = 1000
_OBJECTS = ("data", "metrics", "sampling")
UPDATES, OLD_UPDATES = "updates", "sittings"
"""Number of updates of the model after training: the name in config.json, and that in earlier versions."""


def check_description(description: Mapping[str, Any], model: Model) -> None:
    """Check that a description is valid and fits the model. Missing entries are allowed.

    Raises:
        InputError: An entry is invalid.
    """
    for name in ("method", "modality"):
        value = description.get(name, "")
        if not isinstance(value, str) or len(value) > _MAX_TEXT:
            raise InputError(f"{name} is {value!r:.60}; it must be a short string")
    if description.get("modality", model.modality) != model.modality:
        raise InputError(f"modality is {description['modality']!r}, the model's is {model.modality!r}")
    if "dtype" in description:
        checks.choice(description, "dtype", _DTYPES)
    for name in (UPDATES, OLD_UPDATES):
        if name in description:
            checks.whole_number(description, name)
    if "merged" in description:
        _check_merged(description)
    for name in _OBJECTS:
        if description.get(name) is not None:
            checks.typed(description, name, dict)
    _check_metrics(description)
    widths: Mapping[str, int] = getattr(model, "input_widths", {})
    for name, ndim in (("audio", 1), ("visual", 3)):
        if description.get(name) is not None:
            _check_features(description[name], name, ndim, widths.get(name))
        elif name in description and name in widths:
            raise InputError(f"the model needs {name} features, but the description has none")


def _check_features(value: Any, name: str, ndim: int, width: int | None) -> None:
    shape = checks.whole_numbers(value, "shape", least=1)
    if len(shape) != ndim or (width is not None and shape[-1] != width):
        raise InputError(f"the shape of {name} features is {shape}, but the model needs width {width}")
    checks.typed(value, "encoder", dict)


def _check_merged(description: Mapping[str, Any]) -> None:
    for source in checks.typed(description, "merged", list):
        for name in ("classes", "clips"):
            checks.whole_number(source, name, most=2**40)


def _check_metrics(description: Mapping[str, Any]) -> None:
    for name, value in (description.get("metrics") or {}).items():
        if not (value is None or type(value) in (int, float)):
            raise InputError(f"metrics.{name} is {value!r:.60}; it must be a number")
    data = description.get("data") or {}
    benchmark = data.get("benchmark", "")
    if not isinstance(benchmark, str) or len(benchmark) > _MAX_TEXT:
        raise InputError(f"data.benchmark is {benchmark!r:.60}; it must be a short string")
    if "test_clips" in data:
        checks.whole_number(data, "test_clips", most=2**40)
