"""Options of methods for fast training on a few clips."""

from __future__ import annotations

import dataclasses

from avcil.methods.registry import load_method


def small_options(method: str, *, features: int = 48) -> tuple[str, ...]:
    """Few random features and iterations, for the methods with such options.

    Args:
        method: The method's name or file.
        features: The number of random features.
    """
    values = {"features": features, "stream_features": 20, "finetuning_iterations": 20}
    names = {field.name for field in dataclasses.fields(load_method(method).Options)}
    return tuple(f"{name}={value}" for name, value in values.items() if name in names)
