"""Clips as people name them on a command line: files, folders, patterns, clip lists."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from avcil.errors import InputError


def media_files(words: Sequence[Path]) -> Iterator[Path]:
    """The files that words name: a file as it is, a folder's media files, what a pattern with * matches.

    What is not there is given on as it is: whoever opens it says so. InputError for a folder or a pattern without
    media files.
    """
    for word in words:
        if word.is_dir():
            found = media_below(word)
            if not found:
                raise InputError(f"{word} is a folder without media files")
            yield from found
        elif not word.exists() and glob.has_magic(str(word)):
            matches = sorted(glob.glob(str(word), recursive=True))
            if not matches:
                raise InputError(f"no file fits the pattern {word}")
            yield from media_files([Path(match) for match in matches])
        else:
            yield word


def media_below(folder: Path) -> list[Path]:
    """Media files of a folder and those inside it, sorted; hidden ones are no part of it."""
    from avcil.data.folders import shown_path, walk
    from avcil.data.scan import MEDIA_SUFFIXES

    tree = walk(folder)
    for path, reason in tree.unread:
        print(f"avcil: left out: {shown_path(folder / path)}: {reason}", file=sys.stderr)
    return [folder / path for path in tree.files if path.suffix.lower() in MEDIA_SUFFIXES]


def classes_of(words: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Media files with their classes: a folder of clips is a class by its name, a folder of such folders several."""
    for word in words:
        if not word.is_dir():
            raise InputError(
                f"{word} is no folder; give folders of clips, CLASS/clip.mp4, or one clip list as a .csv file"
            )
        inside = sorted(
            entry for entry in word.iterdir() if entry.is_dir() and not entry.name.startswith(".")
        )
        media = media_below(word)
        loose = [path for path in media if path.parent == word]
        if loose and inside:
            raise InputError(
                f"{word} holds clips ({loose[0].name}) beside folders ({inside[0].name}): it is unclear whether it is "
                "a class or holds classes. Put the clips into a folder of their class"
            )
        folders = [word] if loose else inside
        below = {folder: [path for path in media if path.is_relative_to(folder)] for folder in folders}
        pairs = [(path, folder.resolve().name) for folder, found in below.items() for path in found]
        empty = [folder.name for folder, found in below.items() if not found]
        if not pairs or empty:
            raise InputError(f"{word}: no media file in {', '.join(empty) or 'it'}")
        yield from pairs
