"""Folders of clips: all files below one, whatever cannot be read, and what the top folders mean."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from avcil.errors import InputError

Layout = Literal["class", "split"]
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
LONGEST_SHOWN = 160


@dataclass(kw_only=True)
class FolderTree:
    """What lies below a folder; all paths are relative to it."""

    files: list[Path] = field(default_factory=list)
    """Sorted; hidden files are left out."""
    unread: list[tuple[Path, str]] = field(default_factory=list)
    """Files and folders that could not be looked at, or were not looked at again, with the reason."""


def walk(root: Path) -> FolderTree:
    """All files below `root`; what cannot be read is noted, and the others are still found.

    Symbolic links are followed. A folder that can be reached in several ways is looked into once: otherwise links
    could go round in circles, or multiply the files.
    """
    tree = FolderTree()
    seen: dict[tuple[int, int], Path] = {}
    waiting = [Path()]
    while waiting:
        inside = waiting.pop(0)
        try:
            status = os.stat(root / inside)
            first = seen.setdefault((status.st_dev, status.st_ino), inside)
            if first != inside:
                tree.unread.append((inside, f"it is the same folder as {root / first}, which is listed"))
                continue
            entries = sorted(os.scandir(root / inside), key=lambda entry: (entry.is_symlink(), entry.name))
        except OSError as error:
            tree.unread.append((inside, _reason(error, "the folder cannot be read")))
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                folders = waiting if entry.is_dir() else tree.files
            except OSError as error:
                tree.unread.append((inside / entry.name, _reason(error, "it cannot be read")))
            else:
                folders.append(inside / entry.name)
    tree.files.sort()
    tree.unread.sort()
    return tree


def _reason(error: OSError, what: str) -> str:
    return f"{what}: {error.strerror or error}"


def shown_path(path: Path) -> str:
    """A path for a line of text; of a very long one the end, by which it is told from others."""
    text = "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in str(path)
    )
    return text if len(text) <= LONGEST_SHOWN else f"...{text[-LONGEST_SHOWN:]}"


def split_folders(
    folder: Path, media: Sequence[Path], layout: Layout | None
) -> tuple[dict[str, str], list[str]]:
    """What the top folders mean.

    Args:
        folder: Where the media files are.
        media: Paths below it, relative to it.
        layout: What the user says; None decides by the folders.

    Returns:
        The split of each top folder that is one, {} if the top folders are classes; and notes for people.

    Raises:
        InputError: If the folders can be read both ways, or `layout` does not fit them.
    """
    top = sorted({path.parts[0] for path in media if len(path.parts) > 1})
    named = {name: SPLIT_FOLDERS[name.lower()] for name in top if name.lower() in SPLIT_FOLDERS}
    if layout == "class" or not named:
        if layout == "split":
            raise InputError(f"--layout split: {folder} has no folder named train with media files")
        return {}, _class_note(named)
    others = [name for name in top if name not in named]
    loose = [name for name in named if any(path.parts[0] == name and len(path.parts) == 2 for path in media)]
    nested = [name for name in named if any(path.parts[0] == name and len(path.parts) > 2 for path in media)]
    if layout is None and others and ("train" not in named.values() or not nested):
        return {}, _class_note(named)
    if layout is None and (others or not nested):
        raise InputError(_ambiguous(folder, list(named), others))
    _check_splits(folder, named)
    return named, _stray_note(others, loose)


def _class_note(named: dict[str, str]) -> list[str]:
    if not named:
        return []
    return [
        f"taken for classes, not for splits: {', '.join(named)} (--layout split would take them for splits)"
    ]


def _stray_note(others: Sequence[str], loose: Sequence[str]) -> list[str]:
    notes = []
    if others:
        notes.append(f"left out, as they are no splits: the folders {', '.join(others[:5])}")
    if loose:
        notes.append(f"files that lie in {', '.join(loose)} itself have no class and are left out")
    return notes


def _ambiguous(folder: Path, named: Sequence[str], others: Sequence[str]) -> str:
    if others:
        seen = f"has folders named like splits ({', '.join(named)}) beside others ({', '.join(others[:5])})"
    else:
        seen = f"has the folders {', '.join(named)} with files but no class folders in them"
    return (
        f"{folder} {seen}. Say what they mean: --layout class takes every top folder for a class, --layout split takes "
        "train, val and test for splits with class folders in them"
    )


def _check_splits(folder: Path, named: dict[str, str]) -> None:
    if "train" not in named.values():
        raise InputError(
            f"{folder} has the folders {', '.join(named)} but no train folder with media files. If these are classes, "
            "give --layout class"
        )
    twice = [split for split, count in Counter(named.values()).items() if count > 1]
    if twice:
        names = [name for name, split in named.items() if split == twice[0]]
        raise InputError(f"{folder}: the folders {', '.join(names)} all mean {twice[0]}; keep one of them")
