"""The help of the commands: no Python names, and no default values that cannot be entered."""

from __future__ import annotations

import importlib
import re

import pytest

from avcil.cli.help_text import with_help, without_help
from avcil.cli.main import COMMANDS
from avcil.cli.parse import parse
from avcil.training.config import TrainConfig


def help_text(command: str, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    module = importlib.import_module(f"avcil.cli.{command.replace('-', '_')}")
    with pytest.raises(SystemExit):
        parse(command, module.Args, [*arguments, "--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize("command", [*COMMANDS, "features join", "benchmark list"])
def test_options_without_a_default(command, capsys, monkeypatch):
    """Neither `None` nor an empty default is shown."""
    monkeypatch.setenv("COLUMNS", "100")
    name, *words = command.split()
    text = help_text(name, capsys, *words)
    assert not re.search(r"None\b|default: \)", text)


def test_paragraphs_and_names_of_options(capsys, monkeypatch):
    """Lines of a paragraph are joined, and fields such as `classes_per_step` are shown as --classes-per-step."""
    monkeypatch.setenv("COLUMNS", "1000")
    text = help_text("train", capsys)
    assert "Instead of --classes-per-step, a file with the classes of each step: JSON such as" in text
    assert re.search(r"or\s+CSV with one row per step", text)
    assert "\n│                   or CSV" not in text


def test_parsed_options_have_the_original_class():
    """Not the subclass with the help texts: options are compared, saved, and sent to workers."""
    config = parse("train", TrainConfig, ["store", "--out", "run", "--classes-per-step", "3"])
    assert type(config) is TrainConfig
    described = with_help(TrainConfig)(features=config.features, out=config.out, classes_per_step=3)
    assert without_help(TrainConfig, described) == config


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        ("predict", "MODEL CLIPS ..."),
        ("learn", "MODEL [CLIPS ...]"),
        ("import-features", "[SOURCE]"),
        ("benchmark show", "NAME"),
        ("benchmark list", "[NAME]"),
    ],
)
def test_positional_arguments_have_names(command, usage, capsys, monkeypatch):
    """The usage line shows which path is the model and which are the clips, and no list of allowed values."""
    monkeypatch.setenv("COLUMNS", "200")
    name, *words = command.split()
    first = help_text(name, capsys, *words).splitlines()[0]
    assert usage in first
    assert "PATH [" not in first
    assert "{" not in first


def test_allowed_values_of_positional_arguments(capsys, monkeypatch):
    """They are in the help text, because the usage shows only the name."""
    monkeypatch.setenv("COLUMNS", "200")
    assert "One of: ave-ci, ks-ci, vs100-ci, vs100-ci-leak-free." in help_text("benchmark", capsys, "show")


def test_options_with_several_values(capsys, monkeypatch):
    """The usage shows one or more values in the form of argparse."""
    monkeypatch.setenv("COLUMNS", "200")
    text = help_text("reproduce", capsys)
    assert "--seeds INT ..." in text
    assert "--modalities {audio-visual,audio,visual} ..." in text
    assert "[{" not in text
    assert "[STR" not in text


@pytest.mark.parametrize("command", ["features verify", "benchmark show"])
def test_action_is_described_once(command, capsys, monkeypatch):
    """The description of an action is not repeated for its options."""
    monkeypatch.setenv("COLUMNS", "1000")
    name, *words = command.split()
    text = help_text(name, capsys, *words)
    description = text.splitlines()[2]
    assert len(description) > 40
    assert text.count(description) == 1


def test_option_name_precedes_its_former_name(capsys):
    """tyro lists aliases before the name."""
    assert re.search(r"--alpha FLOAT, --error-rate FLOAT", help_text("predict", capsys))
