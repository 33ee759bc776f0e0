"""Published hyper-parameters, one TOML for each method, benchmark and modality, in the form of `--config`.

The file `ave-ci/lwf-audio.toml` is the recipe `lwf/ave-ci/audio`; without a modality, audio-visual is meant.
Figures: Pian et al., ICCV 2023 (arXiv 2308.11073), and the settings of the authors' release.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from avcil.errors import InputError, unknown_name

FOLDER = Path(__file__).parent
PREFIX = "recipe:"
"""Before a recipe's name where a file could be meant as well: `--config recipe:av-cil/ave-ci`."""
MODALITIES = ("audio", "visual", "audio-visual")
_LEAK_FREE = "-leak-free"


def recipe_benchmarks() -> list[str]:
    """Benchmarks that have recipes."""
    return sorted(folder.name for folder in FOLDER.iterdir() if any(folder.glob("*.toml")))


def recipe_names() -> list[str]:
    """All recipes.

    >>> len(recipe_names())
    57
    """
    names = []
    for benchmark in recipe_benchmarks():
        for modality in MODALITIES:
            for file in (FOLDER / benchmark).glob(f"*-{modality}.toml"):
                method = file.stem.removesuffix(f"-{modality}")
                if not method.endswith("-audio"):  # "lwf-audio-visual" is no visual recipe of "lwf-audio"
                    names.append(f"{method}/{benchmark}/{modality}")
    return sorted(names)


def recipe_file(name: str) -> Path:
    """The file of the recipe `name`, METHOD/BENCHMARK or METHOD/BENCHMARK/MODALITY.

    >>> recipe_file("av-cil/ave-ci").name
    'av-cil-audio-visual.toml'
    """
    parts = name.removeprefix(PREFIX).split("/")
    if len(parts) == 2:
        parts.append("audio-visual")
    if len(parts) != 3:
        raise InputError(f"a recipe is named METHOD/BENCHMARK or METHOD/BENCHMARK/MODALITY, not {name!r}")
    known = recipe_names()
    if "/".join(parts) not in known:
        raise unknown_name("recipe", "/".join(parts), known)
    method, benchmark, modality = parts
    return FOLDER / benchmark / f"{method}-{modality}.toml"


def has_recipes(method: str) -> bool:
    """Whether anything was published for a method, on any benchmark.

    >>> has_recipes("ss-il"), has_recipes("blade")
    (True, False)
    """
    return any(name.startswith(f"{method}/") for name in recipe_names())


def find_recipe(method: str, benchmark: str, modality: str) -> dict[str, Any] | None:
    """The published hyper-parameters as `TrainConfig` fields, None where nothing was published.

    The leak-free benchmark is trained as the one it is cut from.

    >>> find_recipe("lwf", "vs100-ci-leak-free", "audio")["epochs"]
    300
    """
    name = f"{method}/{benchmark.removesuffix(_LEAK_FREE)}/{modality}"
    if name not in recipe_names():
        return None
    return tomllib.loads(recipe_file(name).read_text(encoding="utf-8")) | {"benchmark": benchmark}
