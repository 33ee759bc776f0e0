"""What config.json says of a model besides the model: how features are made, what was measured. Checked here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from avcil.errors import InputError
from avcil.models import checks
from avcil.models.base import Model

DTYPES = ("float16", "float32")
LONGEST_TEXT = 1000
OBJECTS = ("data", "metrics", "sampling")


def check_description(description: Mapping[str, Any], model: Model) -> None:
    """Refuse a description that does not fit the model; names that are missing are not asked for here.

    Raises:
        InputError: With the name and what it holds.
    """
    for name in ("method", "modality"):
        value = description.get(name, "")
        if not isinstance(value, str) or len(value) > LONGEST_TEXT:
            raise InputError(f"{name} is {value!r:.60}; it must be a text")
    if description.get("modality", model.modality) != model.modality:
        raise InputError(f"modality is {description['modality']!r}, the model's is {model.modality!r}")
    if "dtype" in description:
        checks.choice(description, "dtype", DTYPES)
    if "sittings" in description:
        checks.whole_number(description, "sittings")
    _check_merged(description)
    for name in OBJECTS:
        value = description.get(name)
        if not (value is None or isinstance(value, dict)):
            raise InputError(f"{name} is {value!r:.60}; it must be a JSON object")
    _check_figures(description)
    widths: Mapping[str, int] = getattr(model, "input_widths", {})
    for name, form in (("audio", 1), ("visual", 3)):
        if description.get(name) is not None:
            _check_features(description[name], name, form, widths.get(name))
        elif name in description and name in widths:
            raise InputError(f"the model needs {name} features, but the description has none")


def _check_features(value: Any, name: str, form: int, width: int | None) -> None:
    shape = checks.whole_numbers(value, "shape", least=1)
    if len(shape) != form or (width is not None and shape[-1] != width):
        raise InputError(
            f"{name} features are described with the shape {shape}, the model takes width {width}"
        )
    if not isinstance(checks.entry(value, "encoder"), dict):
        raise InputError(f"the encoder of {name} is {value['encoder']!r:.60}; it must be a JSON object")


def _check_merged(description: Mapping[str, Any]) -> None:
    """Refuse a list of merged models that is not as merging writes it."""
    merged = description.get("merged", [])
    if not isinstance(merged, list):
        raise InputError(f"merged is {merged!r:.60}; it must be a list")
    for source in merged:
        for name in ("classes", "clips"):
            checks.whole_number(source, name, most=2**40)


def _check_figures(description: Mapping[str, Any]) -> None:
    for name, value in (description.get("metrics") or {}).items():
        if not (value is None or type(value) in (int, float)):
            raise InputError(f"metrics.{name} is {value!r:.60}; it must be a number")
    data = description.get("data") or {}
    benchmark = data.get("benchmark", "")
    if not isinstance(benchmark, str) or len(benchmark) > LONGEST_TEXT:
        raise InputError(f"data.benchmark is {benchmark!r:.60}; it must be a text")
    if "test_clips" in data:
        checks.whole_number(data, "test_clips", most=2**40)
