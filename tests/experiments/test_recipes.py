"""Recipes have the published values, and are read as by `avcil train --config`."""

from __future__ import annotations

import pytest

from avcil.cli.parse import parse
from avcil.datasets.protocols import PROTOCOLS
from avcil.errors import InputError
from avcil.experiments.recipes import find_recipe, recipe, recipe_names
from avcil.methods.registry import load_method, parse_options
from avcil.training.config import TrainConfig

# Epochs audio / visual / audio-visual, copied from the paper's protocol.
EPOCHS = """
fine-tuning  300/200/150  300/150/150  300/200/200
joint        300/200/150  200/100/100  300/200/200
lwf          300/200/200  200/200/100  300/200/200
icarl        300/200/150  200/100/100  300/200/200
ss-il        300/200/200  300/100/100  300/200/200
afc          300/200/150  300/100/100  300/200/200
av-cil       -/-/200      -/-/200      -/-/200
"""
MEMORY = {"ave-ci": 340, "ks-ci": 500, "vs100-ci": 1500}
LAMBDA_INSTANCE = {"ave-ci": 0.5, "ks-ci": 0.1, "vs100-ci": 0.1}


def published() -> dict[str, int]:
    """Recipe name to epochs."""
    table = {}
    for line in EPOCHS.strip().splitlines():
        method, *cells = line.split()
        for benchmark, cell in zip(MEMORY, cells, strict=True):
            for modality, epochs in zip(("audio", "visual", "audio-visual"), cell.split("/"), strict=True):
                if epochs != "-":
                    table[f"{method}/{benchmark}/{modality}"] = int(epochs)
    return table


def test_recipes_are_the_published_settings() -> None:
    """No recipe is missing, and none has values that were not published."""
    assert recipe_names() == sorted(published())
    assert {name.split("/")[1] for name in recipe_names()} == set(MEMORY)


@pytest.mark.parametrize("name", sorted(published()))
def test_recipe_has_the_published_values(name: str) -> None:
    """Parsed as by `avcil train`, each recipe gives the published configuration."""
    method, benchmark, modality = name.split("/")
    config = parse("train", TrainConfig, ["store", "--out", "run", "--config", f"recipe:{name}"])
    assert (config.method, config.benchmark, config.modality) == (method, benchmark, modality)
    assert config.epochs == published()[name]
    assert (config.batch_size, config.exemplar_batch_size) == (256, 128)
    assert (config.learning_rate, config.weight_decay, config.selection) == (1e-3, 1e-4, "best")
    rehearses = load_method(method).rehearsal != "none"
    assert config.exemplars == (MEMORY[benchmark] if rehearses else None)
    options = parse_options(load_method(method), config.set, name=method)
    if method in ("ss-il", "av-cil"):
        on_ave = "release-ave" if benchmark == "ave-ci" else "separated"
        assert (options.exemplar_batches, options.cross_entropy) == ("repeated", on_ave)
    if method == "av-cil":
        assert options.lambda_instance == LAMBDA_INSTANCE[benchmark]
        assert (options.lambda_class, options.class_form, options.vad_balance) == (1.0, "release", 0.5)
    elif method not in (
        "ss-il",
        "icarl",
        "afc",
    ):  # for their forms of the release, see tests/methods/test_release_forms.py
        assert config.set == ()


def test_recipes_agree_with_the_benchmarks() -> None:
    """The leak-free benchmark uses the recipes of the benchmark that it is derived from."""
    for name, protocol in PROTOCOLS.items():
        for method, by_modality in protocol.epochs.items():
            for modality, epochs in by_modality.items():
                result = find_recipe(method, name, modality)
                assert result is not None
                assert result["epochs"] == epochs
                assert result.get("exemplars", protocol.exemplars) == protocol.exemplars
                assert result["benchmark"] == name


def test_options_replace_those_of_a_recipe() -> None:
    """Options of the command line have priority."""
    arguments = [
        "store",
        "--out",
        "run",
        "--config",
        "recipe:lwf/ks-ci/audio",
        "--epochs",
        "7",
        "--seed",
        "3",
    ]
    config = parse("train", TrainConfig, arguments)
    assert (config.epochs, config.seed, config.modality) == (7, 3, "audio")


def test_default_modality_of_a_recipe_is_audio_visual() -> None:
    """The default modality is audio-visual."""
    assert recipe("av-cil/ave-ci") == recipe("recipe:av-cil/ave-ci/audio-visual")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("avcil/ave-ci", "did you mean av-cil/ave-ci"),
        ("av-cil", "METHOD/BENCHMARK"),
        ("../x/y", "unknown recipe"),
    ],
)
def test_unknown_recipe_is_an_error(name: str, hint: str) -> None:
    """The error message has similar names; a name is never treated as a path."""
    with pytest.raises(InputError, match=hint):
        recipe(name)
