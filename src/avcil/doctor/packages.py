"""Python and packages against what avcil's own metadata asks for, and packages that break others."""

from __future__ import annotations

import importlib
import platform
import re
from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING, Literal

from avcil.doctor.finding import CheckResult

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PACKAGE = "avcil"
NOT_INSTALLED = "run avcil from an environment that it is installed in: make setup, or pip install -e ."
INTRUDERS = ("torchvision", "torchaudio", "timm")
"""Nothing here needs them; torchvision and torchaudio built for another PyTorch keep transformers from importing."""


def python() -> Iterator[CheckResult]:
    """The interpreter's version."""
    from packaging.specifiers import SpecifierSet

    here = platform.python_version()
    try:
        allowed = metadata.metadata(PACKAGE)["Requires-Python"] or ""
    except metadata.PackageNotFoundError:
        yield CheckResult(
            status="broken", what="python", figure=f"{here}; avcil is not installed", advice=NOT_INSTALLED
        )
        return
    fits = SpecifierSet(allowed).contains(here, prereleases=True)
    advice = "" if fits else f"make an environment of Python {allowed}: make setup PYTHON=/path/to/python"
    yield CheckResult(
        status="ok" if fits else "broken",
        what="python",
        figure=f"{here} (needs {allowed or 'any'})",
        advice=advice,
    )


def required_packages() -> Iterator[CheckResult]:
    """Each package that avcil cannot do without."""
    for requirement in _requirements(PACKAGE, None):
        problem = _problem(requirement)
        yield CheckResult(
            status=_status(problem),
            what=requirement.name,
            figure=problem or f"{metadata.version(requirement.name)} (needs {requirement.specifier})",
            advice=f"pip install {_quoted(requirement)}" if problem else "",
        )


def imports() -> Iterator[CheckResult]:
    """Whether the packages that avcil cannot do without can be imported."""
    requirements = [r for r in _requirements(PACKAGE, None) if _version(r.name)]
    problems = {r.name: problem for r in requirements if (problem := _import_problem(r))}
    yield CheckResult(
        status="broken" if problems else "ok",
        what="imports",
        figure="; ".join(f"{name} {problem}" for name, problem in problems.items())
        or f"all {len(requirements)} packages above can be imported",
        advice=f"pip install --force-reinstall {' '.join(problems)}" if problems else "",
    )


def extra_names() -> list[str]:
    """The extras that avcil's metadata names; none where it is not installed."""
    try:
        return sorted(metadata.metadata(PACKAGE).get_all("Provides-Extra") or [])
    except metadata.PackageNotFoundError:
        return []


def extra_packages(extra: str) -> Iterator[CheckResult]:
    """Whether all packages of an extra are there, of versions that fit, and can be imported."""
    requirements = list(_requirements(PACKAGE, extra))
    problems = {r.name: problem for r in requirements if (problem := _problem(r) or _import_problem(r))}
    words = [f"{name} {problem}" for name, problem in problems.items()]
    fine = [f"{r.name} {metadata.version(r.name)}" for r in requirements if r.name not in problems]
    absent = all(_status(problem) == "missing" for problem in problems.values())
    yield CheckResult(
        status="ok" if not problems else "missing" if absent else "broken",
        what=f"extra {extra}",
        figure=", ".join([*words, *fine]),
        advice=f"if you want it: pip install '{PACKAGE}[{extra}]'" if problems else "",
        core=False,
    )


def intruders() -> Iterator[CheckResult]:
    """Packages that are better not there."""
    found = {name: version for name in INTRUDERS if (version := _version(name))}
    for name, version in found.items():
        problem = _import_error(name)
        yield CheckResult(
            status="broken" if problem else "ok",
            what=name,
            figure=f"{version}: {problem or 'imports; avcil does not need it'}",
            advice=f"pip uninstall {name}; avcil does not need it, and it breaks transformers"
            if problem
            else "",
            core=False,
        )
    if not found:
        figure = f"{', '.join(INTRUDERS)} are not installed, which is right: avcil needs none of them"
        yield CheckResult(status="ok", what="intruders", figure=figure, core=False)


def _requirements(package: str, extra: str | None) -> Iterator[Requirement]:
    """What a package requires by itself (`extra` None) or for an extra, and the extras of what it requires."""
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


def _problem(requirement: Requirement) -> str | None:
    version = _version(requirement.name)
    if version is None:
        return "is not installed"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{version} does not fit; avcil needs {requirement.specifier}"
    return None


def _status(problem: str | None) -> Literal["ok", "missing", "broken"]:
    return "ok" if not problem else "missing" if problem == "is not installed" else "broken"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _import_problem(requirement: Requirement) -> str | None:
    """What goes wrong when the modules of an installed package are imported."""
    return next(filter(None, map(_import_error, _modules(requirement.name))), None)


def _modules(name: str) -> list[str]:
    """The names by which a distribution is imported: its own name if that is one of them, else all."""

    def plain(text: str) -> str:
        return re.sub(r"[-_.]+", "_", text).lower()

    modules = [
        module
        for module, owners in metadata.packages_distributions().items()
        if plain(name) in map(plain, owners) and not module.startswith("_")
    ]
    own = [module for module in modules if plain(module) == plain(name)]
    return own or modules


def _import_error(module: str) -> str | None:
    try:
        importlib.import_module(module)
    except Exception as error:
        return f"cannot be imported: {type(error).__name__}: {' '.join(str(error).split())}"
    return None


def _quoted(requirement: Requirement) -> str:
    return f"'{requirement.name}{requirement.specifier}'"
