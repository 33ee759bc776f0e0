"""Published hyper-parameters of every method, benchmark and modality, as options of `avcil train`.

A recipe is named METHOD/BENCHMARK or METHOD/BENCHMARK/MODALITY; without a modality, it is audio-visual. Epochs,
exemplars and `lambda_instance` differ between benchmarks: they are in `avcil.datasets.protocols`. What all benchmarks
share is here.
Source: Pian et al., ICCV 2023 (arXiv 2308.11073), and the settings of the authors' release.
"""

from __future__ import annotations

from typing import Any

from avcil.datasets.protocols import AVE, LEAK_FREE, MODALITIES, PROTOCOLS
from avcil.errors import InputError, unknown_name

PREFIX = "recipe:"
"""Before a recipe's name where a file is also allowed: `--config recipe:av-cil/ave-ci`."""
SHARED = {"batch_size": 256, "learning_rate": 1e-3, "weight_decay": 1e-4, "selection": "best"}
WITH_EXEMPLARS = ("afc", "av-cil", "icarl", "ss-il")
EXEMPLAR_BATCH_SIZE = {"av-cil": 128, "ss-il": 128}
METHOD_OPTIONS: dict[str, dict[str, Any]] = {
    "afc": {
        "herding": "release",
        "validation": "classifier",
        "eta": "reset",
        "teacher_proxies": "random",
        "clustering": "features",
    },
    "av-cil": {
        "lambda_class": 1.0,
        "class_form": "release",
        "vad_balance": 0.5,
        "exemplar_batches": "repeated",
    },
    "icarl": {"distillation": "release", "herding": "release", "validation": "classifier"},
    "ss-il": {"exemplar_batches": "repeated"},
}
"""The forms of the release, where it differs from the paper; docs/protocol.md explains each."""


def recipe_benchmarks() -> list[str]:
    """Benchmarks that have recipes; a leak-free benchmark is trained as the one it is taken from."""
    return sorted(name for name, protocol in PROTOCOLS.items() if not protocol.leak_free)


def recipe_names() -> list[str]:
    """All recipes.

    >>> len(recipe_names())
    57
    """
    return sorted(
        f"{method}/{benchmark}/{modality}"
        for benchmark in recipe_benchmarks()
        for method, epochs in PROTOCOLS[benchmark].epochs.items()
        for modality in MODALITIES
        if modality in epochs
    )


def recipe(name: str) -> dict[str, Any]:
    """The recipe of a name, as fields of `TrainConfig`.

    Raises:
        InputError: There is no such recipe.

    >>> recipe("recipe:av-cil/ave-ci")["exemplars"]
    340
    """
    parts = name.removeprefix(PREFIX).split("/")
    if len(parts) == 2:
        parts.append("audio-visual")
    if len(parts) != 3:
        raise InputError(f"a recipe is named METHOD/BENCHMARK or METHOD/BENCHMARK/MODALITY, not {name!r}")
    if "/".join(parts) not in recipe_names():
        raise unknown_name("recipe", "/".join(parts), recipe_names())
    method, benchmark, modality = parts
    protocol = PROTOCOLS[benchmark]
    found: dict[str, Any] = {"method": method, "benchmark": benchmark, "modality": modality, **SHARED}
    found["epochs"] = protocol.epochs[method][modality]
    if method in WITH_EXEMPLARS:
        found["exemplars"] = protocol.memory
    if method in EXEMPLAR_BATCH_SIZE:
        found["exemplar_batch_size"] = EXEMPLAR_BATCH_SIZE[method]
    options = dict(METHOD_OPTIONS.get(method, {}))
    if method == "av-cil":
        options = {"lambda_instance": protocol.lambda_instance, **options}
    if method in ("av-cil", "ss-il") and benchmark == AVE.name:
        options["cross_entropy"] = "release-ave"
    return found | ({"set": options} if options else {})


def has_recipes(method: str) -> bool:
    """Whether hyper-parameters of a method are published, on any benchmark.

    >>> has_recipes("ss-il"), has_recipes("blade")
    (True, False)
    """
    return any(name.startswith(f"{method}/") for name in recipe_names())


def find_recipe(method: str, benchmark: str, modality: str) -> dict[str, Any] | None:
    """The published hyper-parameters as `TrainConfig` fields, None where nothing was published.

    >>> find_recipe("lwf", "vs100-ci-leak-free", "audio")["epochs"]
    300
    """
    name = f"{method}/{benchmark.removesuffix(LEAK_FREE)}/{modality}"
    return recipe(name) | {"benchmark": benchmark} if name in recipe_names() else None
