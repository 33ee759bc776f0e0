"""Packages import only packages below them, in the order that docs/architecture.md lists."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((SOURCE / "avcil").rglob("*.py"))
}
TOP = {"avcil", "avcil.__main__"}
"""The public API and `python -m avcil`, which may import anything."""


def imports(module: str) -> set[str]:
    """Modules of avcil that a module imports, inside functions and for type checkers too."""
    result = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            result |= {name.name for name in node.names if name.name in MODULES}
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            names = {f"{node.module}.{name.name}" for name in node.names}
            result |= (names & MODULES.keys()) or {node.module}
    return result - {module}


GRAPH = {module: imports(module) for module in MODULES}


def package(module: str) -> str:
    return module.split(".")[1]


def listed() -> list[str]:
    """Packages in the order of the page's map, lowest first."""
    section = PAGE.split("\n## Packages\n")[1].split("\n## ")[0]
    return re.findall(r"^    (\w+)(?:/|\.py) ", section, re.MULTILINE)


def test_every_package_is_listed() -> None:
    """A new package, or a module at the top level, needs a place in the order."""
    assert sorted(listed()) == sorted({package(m) for m in MODULES if m not in TOP})


def test_packages_import_only_packages_below() -> None:
    """A package must be understood, tested and replaced without the packages above it."""
    order = {name: number for number, name in enumerate(listed())}
    upward = {
        (module, other)
        for module, others in GRAPH.items()
        if module not in TOP
        for other in others - TOP
        if order[package(other)] > order[package(module)]
    }
    assert upward == set()


def test_no_module_imports_the_public_api() -> None:
    """`avcil/__init__.py` imports lazily; modules import from the module that defines a name."""
    assert {m for m, others in GRAPH.items() if "avcil" in others and m != "avcil.__main__"} == set()


def test_there_are_no_import_cycles() -> None:
    """Within and across packages: modules that remain after removing all leaves repeatedly are in a cycle."""
    left = {module: others - TOP for module, others in GRAPH.items() if module not in TOP}
    while leaves := {module for module, others in left.items() if not others & left.keys()}:
        left = {module: others for module, others in left.items() if module not in leaves}
    assert {module: sorted(others & left.keys()) for module, others in left.items()} == {}


def test_losses_import_nothing_else() -> None:
    """They import nothing of avcil outside their package."""
    assert {o for m, others in GRAPH.items() if m.startswith("avcil.losses") for o in others
            if not o.startswith("avcil.losses")} == set()  # fmt: skip


def test_constants_of_one_module_are_private() -> None:
    """A constant without underscore is used in another file, or named in a docstring of its own."""
    folders = ("src", "tests", "benchmarks", "scripts", "docs")
    texts = {
        path: path.read_text(encoding="utf-8")
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".md"} and path != Path(__file__)
    }
    words = {path: set(re.findall(r"\b[A-Z][A-Z0-9_]*\b", text)) for path, text in texts.items()}
    uses = Counter(word for found in words.values() for word in found)
    unused = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in MODULES.values()
        for name in re.findall(r"^([A-Z][A-Z0-9_]*)(?:: [^=]+)? = ", texts[path], flags=re.MULTILINE)
        if uses[name] == 1 and f"`{name}`" not in texts[path]
    ]
    assert unused == []


def top_level_names(module: str) -> set[str]:
    """Names that a module defines or imports, and its submodules."""
    names = {other.removeprefix(f"{module}.") for other in MODULES if other.startswith(f"{module}.")}
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def test_scripts_import_existing_names():
    """No other test runs most scripts, so a renamed or moved name would break them unnoticed."""
    missing = []
    for folder in ("benchmarks", "scripts", "docs/theme"):
        for path in sorted((ROOT / folder).glob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "avcil":
                    known = top_level_names(node.module) if node.module in MODULES else set()
                    missing += [
                        f"{path.name}: {node.module}.{alias.name}"
                        for alias in node.names
                        if alias.name not in known
                    ]
    assert missing == []
