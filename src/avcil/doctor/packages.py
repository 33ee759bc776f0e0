"""Checks of Python and of installed packages against avcil's metadata, and of packages that break others."""

from __future__ import annotations

import importlib
import platform
import re
from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING

from avcil.doctor.result import CheckResult, pass_or_fail

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PACKAGE = "avcil"
_CONFLICTS = ("torchvision", "torchaudio", "timm")
"""avcil needs none of them. If they were built for another PyTorch, transformers cannot be imported."""
_NOT_INSTALLED = "is not installed"


def python() -> Iterator[CheckResult]:
    """The version of Python."""
    from packaging.specifiers import SpecifierSet

    version = platform.python_version()
    try:
        allowed = metadata.metadata(PACKAGE)["Requires-Python"] or ">=0"
    except metadata.PackageNotFoundError:
        advice = "run avcil from the environment that it is installed in: make setup, or pip install -e ."
        detail = f"{version}; avcil {_NOT_INSTALLED}"
        yield pass_or_fail("python", False, detail, advice=advice)
        return
    passed = SpecifierSet(allowed).contains(version, prereleases=True)
    advice = f"use Python {allowed}: make setup PYTHON=/path/to/python"
    yield pass_or_fail("python", passed, f"{version} (needs {allowed})", advice=advice)


def required_packages() -> Iterator[CheckResult]:
    """The version of each package that avcil always needs."""
    for requirement in _requirements(PACKAGE, None):
        problem = _version_problem(requirement)
        yield CheckResult(
            status="missing" if problem == _NOT_INSTALLED else "broken" if problem else "ok",
            name=requirement.name,
            detail=problem or f"{_version(requirement.name)} (needs {requirement.specifier})",
            advice=f"pip install '{requirement.name}{requirement.specifier}'" if problem else "",
        )


def imports() -> Iterator[CheckResult]:
    """Whether these packages can be imported."""
    names = [r.name for r in _requirements(PACKAGE, None) if _version(r.name)]
    problems = {name: problem for name in names if (problem := _import_problem(name))}
    detail = "; ".join(f"{name} {problem}" for name, problem in problems.items())
    advice = f"pip install --force-reinstall {' '.join(problems)}"
    yield pass_or_fail(
        "imports", not problems, detail or f"all {len(names)} packages above can be imported", advice=advice
    )


def extra_names() -> list[str]:
    """The extras in avcil's metadata; none if it is not installed."""
    try:
        return sorted(metadata.metadata(PACKAGE).get_all("Provides-Extra") or [])
    except metadata.PackageNotFoundError:
        return []


def extra_packages(extra: str) -> Iterator[CheckResult]:
    """Whether all packages of an extra are installed, have versions that fit, and can be imported."""
    requirements = list(_requirements(PACKAGE, extra))
    problems = {r.name: _version_problem(r) or _import_problem(r.name) for r in requirements}
    missing = [name for name, problem in problems.items() if problem == _NOT_INSTALLED]
    broken = [f"{name} {problem}" for name, problem in problems.items() if problem and name not in missing]
    fine = [f"{name} {_version(name)}" for name, problem in problems.items() if not problem]
    detail = [*broken, *([f"not installed: {', '.join(missing)}"] if missing else []), ", ".join(fine)]
    yield CheckResult(
        status="broken" if broken else "missing" if missing else "ok",
        name=f"extra {extra}",
        detail="; ".join(filter(None, detail)),
        advice=f"if you need it: pip install '{PACKAGE}[{extra}]'" if broken or missing else "",
        required=False,
    )


def conflicts() -> Iterator[CheckResult]:
    """Installed packages that avcil does not need and that may break transformers."""
    for name in _CONFLICTS:
        if version := _version(name):
            problem = _import_error(name)
            detail = f"{version} {problem or 'can be imported; avcil does not need it'}"
            advice = f"pip uninstall {name}; avcil does not need it, and it breaks transformers"
            yield pass_or_fail(name, not problem, detail, advice=advice, required=False)


def _requirements(package: str, extra: str | None) -> Iterator[Requirement]:
    """The requirements of a package without extras (None) or of one extra, and the extras of its requirements."""
    from packaging.requirements import Requirement

    try:
        lines = metadata.requires(package) or []
    except metadata.PackageNotFoundError:
        return
    for requirement in map(Requirement, lines):
        marker = requirement.marker
        of_extra = marker is not None and "extra" in str(marker)
        if of_extra == (extra is None) or (marker and not marker.evaluate({"extra": extra or ""})):
            continue
        yield requirement
        for nested in requirement.extras:
            yield from _requirements(requirement.name, nested)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _version_problem(requirement: Requirement) -> str | None:
    version = _version(requirement.name)
    if version is None:
        return _NOT_INSTALLED
    if requirement.specifier.contains(version, prereleases=True):
        return None
    return f"{version} does not fit; avcil needs {requirement.specifier}"


def _import_problem(name: str) -> str | None:
    """Why the modules of an installed package cannot be imported; None if they can."""

    def plain(text: str) -> str:
        return re.sub(r"[-_.]+", "_", text).lower()

    owners = metadata.packages_distributions().items()
    modules = [m for m, names in owners if plain(name) in map(plain, names) and not m.startswith("_")]
    same_name = [module for module in modules if plain(module) == plain(name)]
    return next(filter(None, map(_import_error, same_name or modules)), None)


def _import_error(module: str) -> str | None:
    try:
        importlib.import_module(module)
    except Exception as error:
        return f"cannot be imported: {type(error).__name__}: {' '.join(str(error).split())}"
    return None
