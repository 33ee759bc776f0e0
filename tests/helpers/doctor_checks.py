"""Checks of `avcil doctor` by name."""

from __future__ import annotations

from pathlib import Path

from avcil.doctor.checks import find_checks


def check_named(name, *, out=Path("runs"), ray=False):
    return next(check for check in find_checks(out, ray=ray) if check.name == name)
