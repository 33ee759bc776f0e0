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
