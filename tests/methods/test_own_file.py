"""A user's method in a file, and its models."""

from __future__ import annotations

import pytest

from avcil.errors import InputError
from avcil.methods import registry
from avcil.saved_models.folder import load_model
from avcil.training.config import TrainConfig
from avcil.training.run import train

OWN_METHOD = """
from avcil.methods.blade import BladeMethod as _Blade


class Mine(_Blade):
    name = "NAME"
    summary = "a method of a user's own"
"""


def test_model_of_a_user_defined_method(store, tmp_path):
    """A model of a user's method is saved with the name of the method, and loaded after the file was named."""
    file = tmp_path / "mine.py"
    file.write_text(OWN_METHOD.replace("NAME", "mine"))
    config = TrainConfig(features=store, out=tmp_path / "run", method=str(file), classes_per_step=2)
    train(config, quiet=True)
    registry._FROM_FILES.clear()  # as in a separate process
    with pytest.raises(InputError, match=r"'mine' come from no method of avcil.*--method-file FILE\.py"):
        load_model(tmp_path / "run/model")
    registry.load_method(str(file))
    model, labels, _ = load_model(tmp_path / "run/model")
    assert model.kind == "mine"
    assert model.classes == len(labels) == 6


def test_method_name_of_avcil_is_rejected(tmp_path):
    """A user-defined closed-form method must not have the name of a method of avcil."""
    file = tmp_path / "mine.py"
    file.write_text(OWN_METHOD.replace("NAME", "blade"))
    with pytest.raises(InputError, match="the name blade is used by another method"):
        registry.load_method(str(file))


@pytest.mark.parametrize(("old", "new"), registry.RENAMED.items())
def test_renamed_attribute_is_an_error(old, new, tmp_path):
    """Ignoring the attribute would train another method."""
    file = tmp_path / "mine.py"
    file.write_text(OWN_METHOD.replace("NAME", "mine") + f"    {old} = True\n")
    with pytest.raises(InputError, match=f"Mine.{old} is now called {new}"):
        registry.load_method(str(file))


GRADIENT_METHOD = """
from dataclasses import dataclass

from avcil.methods.base import GradientMethod


@dataclass(frozen=True, kw_only=True)
class Options:
    weight: float = 1.0


class Mine(GradientMethod):
    name = "mine"
    summary = "a method of a user's own"
    Options = Options
    rehearsal = "random"
    batching = "mixed"
    uses_teacher = True
    modalities = ("audio-visual", "visual")

    def loss(self, output, batch, step):
        return {"zero": 0 * output.logits.sum()}
"""


@pytest.mark.parametrize(
    ("text", "instead", "message"),
    [
        ('rehearsal = "random"', 'rehearsal = "rnadom"', "Mine.rehearsal must be one of .*; not 'rnadom'"),
        ('batching = "mixed"', 'batching = "pair"', "Mine.batching must be one of 'new', .*; not 'pair'"),
        ("uses_teacher = True", 'uses_teacher = "no"', "Mine.uses_teacher must be one of False, True; not 'no'"),
        ("uses_teacher = True", 'classifier = "means"', "Mine.classifier must be one of .*; not 'means'"),
        ('("audio-visual", "visual")', '("audio-visual", "video")', "Mine.modalities must be one of .*; not 'video'"),
        ('("audio-visual", "visual")', '("audio")', r"Mine.modalities must be a tuple, .*; not 'audio'"),
        ("rehearsal =", "rehersal =", r"Mine.rehersal has no meaning; did you mean rehearsal\?"),
        ("uses_teacher =", "use_teacher =", r"Mine.use_teacher has no meaning; did you mean uses_teacher\?"),
        ('    name = "mine"\n', "", "Mine must define name"),
        ("def loss", "def los", "Mine must define loss"),
        ("@dataclass(frozen=True, kw_only=True)\n", "", "Mine.Options must be a dataclass"),
        ("Options = Options", "Options = Options()", "Mine.Options must be a dataclass"),
    ],
)  # fmt: skip
def test_misspelled_class_is_an_error(text, instead, message, tmp_path):
    """A wrong value of an attribute has no effect or another one, so it is an error when the file is loaded."""
    file = tmp_path / "mine.py"
    file.write_text(GRADIENT_METHOD)
    registry.load_method(str(file))
    assert text in GRADIENT_METHOD
    wrong = tmp_path / "wrong.py"
    wrong.write_text(GRADIENT_METHOD.replace(text, instead))
    with pytest.raises(InputError, match=message):
        registry.load_method(str(wrong))


@pytest.mark.parametrize("loss", ["output.logits.sum()", '{"loss": output.logits}', "{}"])
def test_loss_of_another_type_is_an_error(loss, store, tmp_path):
    """A loss that returns no scalars by name gives advice instead of an error of PyTorch; a vector is not summed."""
    file = tmp_path / "mine.py"
    file.write_text(GRADIENT_METHOD.replace('{"zero": 0 * output.logits.sum()}', loss))
    config = TrainConfig(features=store, out=tmp_path / "run", method=str(file), classes_per_step=3, epochs=1)
    with pytest.raises(InputError, match=r"Mine\.loss must return scalar tensors by name"):
        train(config, quiet=True)
