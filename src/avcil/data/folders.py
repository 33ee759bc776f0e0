"""Listing the media files in a folder, and interpreting its top folders as classes or splits."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from avcil.errors import InputError

Layout = Literal["class", "split"]
_SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
_MAX_SHOWN_LENGTH = 160
_SUFFIXES = (
    ".3g2 .3gp .aac .aif .aiff .amr .asf .avi .divx .dv .f4v .flac .flv .gif .m1v .m2ts .m2v .m4a .m4v .mka "
    ".mkv .mov .mp2 .mp3 .mp4 .mpeg .mpg .mts .mxf .nut .oga .ogg .ogv .opus .rm .rmvb .ts .vob .wav .weba "
    ".webm .wma .wmv .y4m"
)
MEDIA_SUFFIXES = frozenset(_SUFFIXES.split())


@dataclass(kw_only=True)
class FolderTree:
    """The content of a folder; all paths are relative to it."""

    files: list[Path] = field(default_factory=list)
    """Sorted, without hidden files."""
    unread: list[tuple[Path, str]] = field(default_factory=list)
    """Files and folders that were not read, with the reason."""


def walk(root: Path) -> FolderTree:
    """List all files below `root`; what cannot be read is recorded and skipped.

    Symbolic links are followed. A folder that is reachable by several paths is listed once, so that cycles end.
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
            path = inside / entry.name
            try:
                folders = waiting if entry.is_dir() else tree.files
            except OSError as error:
                tree.unread.append((path, _reason(error, "it cannot be read")))
                continue
            if path.suffix.lower() in MEDIA_SUFFIXES or not entry.is_symlink() or (root / path).exists():
                folders.append(path)
            else:  # perhaps a folder of clips; a broken link to a media file is reported when the file is opened
                tree.unread.append((path, "it is a link to a file or folder that does not exist"))
    tree.files.sort()
    tree.unread.sort()
    return tree


def _reason(error: OSError, what: str) -> str:
    return f"{what}: {error.strerror or error}"


def shown_path(path: Path) -> str:
    """A path for messages, escaped; only the end of a very long one."""
    text = "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in str(path)
    )
    return text if len(text) <= _MAX_SHOWN_LENGTH else f"...{text[-_MAX_SHOWN_LENGTH:]}"


def check_folder(folder: Path, expected: str) -> None:
    """Raise InputError if `folder` does not exist or is a file; `expected` says which folder to give."""
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise InputError(f"the folder {folder} {what}; give {expected}")


def is_text(path: Path) -> bool:
    """Whether a path can be written to a text file; names that are not UTF-8 cannot."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def media_of(folder: Path, tree: FolderTree, expected: str) -> tuple[list[Path], dict[str, int]]:
    """Divide the files of a folder into media files and others.

    Args:
        folder: The folder.
        tree: Its content.
        expected: Which folder is expected, for the error message.

    Returns:
        The media files, relative to `folder` and sorted, and the number of other files by suffix.

    Raises:
        InputError: There is no media file.
    """
    media = [path for path in tree.files if path.suffix.lower() in MEDIA_SUFFIXES]
    others = Counter(path.suffix.lower() for path in tree.files if path.suffix.lower() not in MEDIA_SUFFIXES)
    if not media:
        most = dict(others.most_common(5))
        what = f"contains no media file (it contains {shown_suffixes(most)})" if others else "is empty"
        if tree.unread:
            path, reason = tree.unread[0]
            what = f"contains no readable media file; {len(tree.unread)} could not be read: {folder / path}: {reason}"
        raise InputError(f"the folder {folder} {what}; give {expected}")
    return media, dict(sorted(others.items()))


def shown_suffixes(counts: Mapping[str, int]) -> str:
    """Numbers of files by suffix, as text."""
    return ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in counts.items())


def split_folders(
    folder: Path, media: Sequence[Path], layout: Layout | None
) -> tuple[dict[str, str], list[str]]:
    """Interpret the top folders as splits or classes.

    Args:
        folder: The folder.
        media: Paths of the media files, relative to it.
        layout: The layout given by the user; None detects it.

    Returns:
        The split by top folder, {} if the top folders are classes; and notes for the user.

    Raises:
        InputError: The layout is ambiguous, or `layout` does not fit the folders.
    """
    top = sorted({path.parts[0] for path in media if len(path.parts) > 1})
    named = {name: _SPLIT_FOLDERS[name.lower()] for name in top if name.lower() in _SPLIT_FOLDERS}
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
        f"interpreted as classes, not as splits: {', '.join(named)} (--layout split interprets them as splits)"
    ]


def _stray_note(others: Sequence[str], loose: Sequence[str]) -> list[str]:
    notes = []
    if others:
        notes.append(f"skipped, since they are not splits: the folders {', '.join(others[:5])}")
    if loose:
        notes.append(f"files directly in {', '.join(loose)} have no class and are skipped")
    return notes


def _ambiguous(folder: Path, named: Sequence[str], others: Sequence[str]) -> str:
    if others:
        seen = f"has folders named like splits ({', '.join(named)}) in addition to others ({', '.join(others[:5])})"
    else:
        seen = f"has the folders {', '.join(named)} with files but no class folders in them"
    return (
        f"{folder} {seen}. Choose an interpretation: with --layout class, every top folder is a class; with --layout "
        "split, train, val and test are splits that contain class folders"
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
