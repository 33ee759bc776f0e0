"""Published hyper-parameters by method, benchmark and modality, as options of `avcil train`.

The name of a recipe is METHOD/BENCHMARK or METHOD/BENCHMARK/MODALITY; the default modality is audio-visual. Epochs,
exemplars and `lambda_instance` depend on the benchmark and are in `avcil.datasets.protocols`; the values that all
benchmarks share are here.
Source: Pian et al., ICCV 2023 (arXiv 2308.11073), and the settings of the authors' release.
"""

from __future__ import annotations

from typing import Any

from avcil.datasets.protocols import AVE, LEAK_FREE, MODALITIES, PROTOCOLS
from avcil.errors import InputError, unknown_name

PREFIX = "recipe:"
"""Distinguishes a recipe from a file: `--config recipe:av-cil/ave-ci`."""
_SHARED = {"batch_size": 256, "learning_rate": 1e-3, "weight_decay": 1e-4, "selection": "best"}
_WITH_EXEMPLARS = ("afc", "av-cil", "icarl", "ss-il")
_EXEMPLAR_BATCH_SIZE = {"av-cil": 128, "ss-il": 128}
_METHOD_OPTIONS: dict[str, dict[str, Any]] = {
    "afc": {
        "herding": "release",
        "validation": "classifier",
        "eta": "reset",
        "teacher_proxies": "random",
        "clustering": "features",
        "finetuning_iterations": 0,
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
"""Where the release differs from the paper, its form; docs/protocol.md explains each option."""


def recipe_names() -> list[str]:
    """All recipes; a leak-free benchmark uses those of the benchmark that it is derived from.

    >>> len(recipe_names())
    57
    """
    return sorted(
        f"{method}/{name}/{modality}"
        for name, protocol in PROTOCOLS.items()
        if not protocol.leak_free
        for method, epochs in protocol.epochs.items()
        for modality in MODALITIES
        if modality in epochs
    )


def recipe(name: str) -> dict[str, Any]:
    """A recipe by its name, as fields of `TrainConfig`.

    Raises:
        InputError: There is no such recipe.

    >>> recipe("recipe:av-cil/ave-ci")["exemplars"]
    340
    """
    parts = name.removeprefix(PREFIX).split("/")
    if len(parts) == 2:
        parts.append("audio-visual")
    if len(parts) != 3:
        raise InputError(
            f"the name of a recipe is METHOD/BENCHMARK or METHOD/BENCHMARK/MODALITY; not {name!r}"
        )
    if "/".join(parts) not in recipe_names():
        raise unknown_name("recipe", "/".join(parts), recipe_names())
    method, benchmark, modality = parts
    protocol = PROTOCOLS[benchmark]
    settings: dict[str, Any] = {"method": method, "benchmark": benchmark, "modality": modality, **_SHARED}
    settings["epochs"] = protocol.epochs[method][modality]
    if method in _WITH_EXEMPLARS:
        settings["exemplars"] = protocol.exemplars
    if method in _EXEMPLAR_BATCH_SIZE:
        settings["exemplar_batch_size"] = _EXEMPLAR_BATCH_SIZE[method]
    options = dict(_METHOD_OPTIONS.get(method, {}))
    if method == "av-cil":
        options = {"lambda_instance": protocol.lambda_instance, **options}
    if method in ("av-cil", "ss-il") and benchmark == AVE.name:
        options["cross_entropy"] = "release-ave"
    return settings | ({"set": options} if options else {})


def has_recipes(method: str) -> bool:
    """Whether hyper-parameters of a method are published for any benchmark.

    >>> has_recipes("ss-il"), has_recipes("blade")
    (True, False)
    """
    return any(name.startswith(f"{method}/") for name in recipe_names())


def find_recipe(method: str, benchmark: str, modality: str) -> dict[str, Any] | None:
    """The published hyper-parameters as fields of `TrainConfig`; None if nothing was published.

    >>> find_recipe("lwf", "vs100-ci-leak-free", "audio")["epochs"]
    300
    """
    name = f"{method}/{benchmark.removesuffix(LEAK_FREE)}/{modality}"
    return recipe(name) | {"benchmark": benchmark} if name in recipe_names() else None


def option_text(value: object) -> str:
    """The value of an option as command-line text: booleans in lower case."""
    return str(value).lower() if isinstance(value, bool) else str(value)
