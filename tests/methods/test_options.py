"""Ranges of the options of all methods."""

from __future__ import annotations

import dataclasses
import typing

import pytest

from avcil.errors import InputError
from avcil.methods.registry import load_method, method_names, parse_options

AUTOMATIC = {("rls", "compensation"), ("slda", "shrinkage")}
"""Options for which a value below 0 means that the method chooses the value."""


def numbers() -> list[tuple[str, str, type]]:
    """Method, name and type of each option that is a number."""
    found = []
    for name in method_names():
        options = load_method(name).Options
        hints = typing.get_type_hints(options)
        fields = [field.name for field in dataclasses.fields(options) if hints[field.name] in (int, float)]
        found += [(name, field, hints[field]) for field in fields if (name, field) not in AUTOMATIC]
    return found


@pytest.mark.parametrize(("method", "option", "kind"), numbers())
def test_numbers_are_in_range(method, option, kind):
    """Negative weights, numbers of clips and temperatures, and a temperature of 0, would train without a meaning."""
    wrong = ["-1"] + ["0"] * option.startswith("temperature") + ["1.5"] * (kind is int)
    for value in wrong:
        with pytest.raises(InputError, match=f"option {option}.* must be .*; not {value}|not '{value}'"):
            parse_options(load_method(method), [f"{option}={value}"], name=method)
