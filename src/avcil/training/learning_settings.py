"""How a saved model was taught, out of its learning.json: each setting is checked before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avcil.errors import InputError
from avcil.methods.base import Method
from avcil.methods.exemplars import ExemplarMemory
from avcil.methods.registry import parse_options
from avcil.models import checks
from avcil.training.config import TrainConfig

COUNTS = ("epochs", "batch_size", "exemplar_batch_size")


def options_of(method_class: type[Method], settings: Mapping[str, Any]) -> Any:
    """The method's options."""
    given = checks.entry(settings, "method_options")
    if not isinstance(given, dict):
        raise InputError(f"method_options is {given!r:.60}; it must be a JSON object")
    return parse_options(method_class, given, name=settings["method"])


def config_of(settings: Mapping[str, Any]) -> TrainConfig:
    """What a further step depends on, but the method and the exemplars."""
    whole = {name: checks.whole_number(settings, name, least=1) for name in COUNTS}
    rates = {name: checks.number(settings, name) for name in ("learning_rate", "weight_decay")}
    precision = settings.get("precision")
    if precision is not None:
        checks.choice(settings, "precision", ("float32", "bfloat16", "float64"))
    seed = checks.whole_number(settings, "seed", most=2**63 - 1)
    return TrainConfig(
        features=Path(),
        out=Path(),
        classes_per_step=1,
        selection="last",
        seed=seed,
        precision=precision,
        **whole,
        **rates,
    )


def memory_of(settings: Mapping[str, Any], classes: int) -> ExemplarMemory:
    """An empty memory for so many classes; InputError if it is too small for them."""
    sizes = {}
    for name in ("memory", "memory_per_class"):
        if checks.entry(settings, name) is not None:
            sizes[name] = checks.whole_number(settings, name, least=1, most=2**40)
    if len(sizes) != 1:
        raise InputError("the model's learning.json must give memory or memory_per_class, not both or none")
    memory = ExemplarMemory(total=sizes.get("memory"), per_class=sizes.get("memory_per_class"))
    memory.quota(classes)
    return memory
