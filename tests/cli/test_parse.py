"""Options from the command line and from TOML files: the command line has priority, and errors are clear."""

from __future__ import annotations

from pathlib import Path

import pytest

from avcil.cli import extract, forget, predict
from avcil.cli.parse import parse
from avcil.errors import InputError
from avcil.experiments.config import ReproduceConfig
from avcil.training.config import TrainConfig


def toml(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "my.toml"
    file.write_text(text, encoding="utf-8")
    return file


def train(*words: object) -> TrainConfig:
    return parse("train", TrainConfig, [str(word) for word in words])


FILE = """
features = "stores/a"
out = "-odd/run"
classes-per-step = 3
epochs = 7
learning_rate = 1e-2
selection = "last"

[set]
lambda_instance = 0.1
vad_spatial = false
"""


def test_config_file(tmp_path):
    """Positional arguments, numbers, strings, folders with spaces, and options of the method as a table."""
    config = train("--config", toml(tmp_path, FILE))
    assert config == TrainConfig(
        features=Path("stores/a"),
        out=Path("-odd/run"),
        classes_per_step=3,
        epochs=7,
        learning_rate=1e-2,
        selection="last",
        set=("lambda_instance=0.1", "vad_spatial=false"),
    )


def test_options_override_the_file(tmp_path):
    """Options replace single values of the file; options of the method are merged."""
    file = toml(tmp_path, FILE)
    config = train(
        "stores/b", "--epochs", "9", "--set", "lambda_instance=0.2", f"--config={file}", "--seed", 4
    )
    assert (config.features, config.epochs, config.seed) == (Path("stores/b"), 9, 4)
    assert config.set == ("lambda_instance=0.1", "vad_spatial=false", "lambda_instance=0.2")
    from avcil.methods.registry import load_method, parse_options

    options = parse_options(load_method("av-cil"), config.set, name="av-cil")
    assert (options.lambda_instance, options.vad_spatial) == (0.2, False)


def test_set_can_be_repeated():
    """tyro alone would only use the last one."""
    config = train(
        "f", "--set", "a=1", "b=2", "--out", "o", "--set=c=3", "--classes-per-step", 2, "--set", "d=-4"
    )
    assert config.set == ("a=1", "b=2", "c=3", "d=-4")


@pytest.mark.parametrize("arguments", ["--threshold x=0.5 --threshold y=0.6", "--threshold x=0.5 y=0.6"])
def test_repeated_list_options_are_joined(arguments):
    """`--threshold A --threshold B` means the same as `--threshold A B`; tyro alone would drop A."""
    args = parse("predict", predict.Args, ["run", "clip.mp4", *arguments.split()])
    assert args.threshold == ("x=0.5", "y=0.6")


def test_repeated_list_option_with_another_name():
    """The option of the field `classes` is --class."""
    args = parse("forget", forget.Args, ["m", "--out", "o", "--class", "x", "--class", "z"])
    assert args.classes == ("x", "z")


@pytest.mark.parametrize(
    ("kind", "text", "name", "value"),
    [
        (extract.Args, 'clips = "c.csv"\nout = "store"\nshard = "2/4"', "part", "2/4"),
        (predict.Args, 'model = "m"\nclips = ["a.mp4"]\nerror-rate = 0.2', "alpha", 0.2),
    ],
)
def test_former_names_in_config_files(kind, text, name, value, tmp_path):
    """A configuration file of an earlier version is read like the former option on the command line."""
    args = parse("command", kind, ["--config", str(toml(tmp_path, text))])
    assert getattr(args, name) == value


def test_lists_and_switches(tmp_path):
    """Lists are several values, true and false are switches, and arguments after -- are positional."""
    file = toml(tmp_path, 'model = "runs/x"\nclips = ["a.mp4", "b c.mp4"]\njson = true\n')
    args = parse("predict", predict.Args, ["--config", str(file)])
    assert (args.model, args.clips, args.json) == (Path("runs/x"), (Path("a.mp4"), Path("b c.mp4")), True)
    file = toml(tmp_path, "json = true\n")
    args = parse("predict", predict.Args, ["runs/x", "a.mp4", "--config", str(file), "--no-json"])
    assert not args.json
    args = parse("predict", predict.Args, ["runs/x", "--", "--config", "x.mp4"])
    assert args.clips == (Path("--config"), Path("x.mp4"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "my.toml: unknown key 'epoch'; did you mean epochs"),
        ("epochs = ", "my.toml is not valid TOML"),
        ("[training]\nepochs = 3", "my.toml: unknown key 'training'"),
        ("epochs = 0", "--epochs must be 1 or more; not 0"),
        ("learning_rate = nan", "--learning-rate must be a number above 0; not nan"),
        ("weight_decay = inf", "--weight-decay must be a number, 0 or more; not inf"),
    ],
)
def test_invalid_config_files(text, message, tmp_path):
    """The InputError names the file, the key or the value."""
    with pytest.raises(InputError, match=message):
        train("f", "--out", "o", "--classes-per-step", 2, "--config", toml(tmp_path, text))


@pytest.mark.parametrize(
    "text", ['epochs = "many"', "epochs = 2.5", "epochs = true", "selection = 'first'", "out = []"]
)
def test_values_of_the_wrong_type(text, tmp_path, capsys):
    """The exit code is 2 and the message names the option."""
    with pytest.raises((SystemExit, InputError)) as end:
        train("f", "--out", "o", "--classes-per-step", 2, "--config", toml(tmp_path, text))
    code = end.value.exit_code if isinstance(end.value, InputError) else end.value.code
    assert code == 2
    assert text.split()[0] in f"{end.value} {capsys.readouterr().err}"


def test_unreadable_config_files(tmp_path):
    """A missing file, a folder, and --config without a file."""
    with pytest.raises(InputError, match="No such file"):
        train("--config", tmp_path / "none.toml")
    with pytest.raises(InputError, match="Is a directory"):
        train("--config", tmp_path)
    with pytest.raises(InputError, match="--config needs a TOML file"):
        train("f", "--config")


def test_config_file_with_byte_order_mark(tmp_path):
    file = tmp_path / "my.toml"
    file.write_bytes(b"\xef\xbb\xbf" + FILE.encode())
    assert train("--config", file) == train("--config", toml(tmp_path, FILE))


@pytest.mark.parametrize(
    ("command", "kind", "words", "message"),
    [
        ("train", TrainConfig, ["--exemplars", "all"], "--exemplars must be a whole number; not 'all'"),
        ("train", TrainConfig, ["--epochs=1.5"], "--epochs must be a whole number; not '1.5'"),
        ("train", TrainConfig, ["--learning_rate", "fast"], "--learning-rate must be a number; not 'fast'"),
        ("extract", extract.Args, ["--batch-size", "big"], "--batch-size must be a whole number or auto; not 'big'"),
        ("reproduce", ReproduceConfig, ["--seeds", "0", "1", "x"], "--seeds must be a whole number; not 'x'"),
        ("train", TrainConfig, ["--epochs", "None"], "--epochs must be a whole number; not 'None'"),
        ("predict", predict.Args, ["clip.mp4", "--error-rate", "low"], "--error-rate must be a number; not 'low'"),
    ],
)  # fmt: skip
def test_value_that_is_not_a_number(command, kind, words, message):
    """The message says what is allowed, without names of Python types."""
    with pytest.raises(InputError, match=message):
        parse(command, kind, ["store", *words, "--out", "run"])


def test_arguments_after_a_number():
    """Only the values of an option are checked: a store after a single value is another argument."""
    assert train("--out", "run", "--classes-per-step", "3", "store").features == Path("store")
    words = ["--out", "run", "--classes-per-step", "2", "--seeds", "0", "1"]
    assert parse("reproduce", ReproduceConfig, ["store", *words]).seeds == (0, 1)
