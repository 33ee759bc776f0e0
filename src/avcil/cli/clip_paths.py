"""Find the clips that are given on the command line as files, folders and patterns."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from avcil.errors import InputError


def media_files(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield files, the media files of folders, and the matches of glob patterns.

    A missing file is yielded as it is; the error is raised when it is opened.

    Raises:
        InputError: A folder has no media files, or a pattern has no matches.
    """
    for path in paths:
        if path.is_dir():
            files = _media_below(path)
            if not files:
                raise InputError(f"{path} is a folder without media files")
            yield from files
        elif not path.exists() and glob.has_magic(str(path)):
            matches = sorted(glob.glob(str(path), recursive=True))
            if not matches:
                raise InputError(f"no file matches the pattern {path}")
            yield from media_files([Path(match) for match in matches])
        else:
            yield path


def _media_below(folder: Path) -> list[Path]:
    """The media files in a folder and its subfolders, sorted, without hidden files."""
    from avcil.data.folders import MEDIA_SUFFIXES, shown_path, walk

    tree = walk(folder)
    for path, reason in tree.unread:
        print(f"avcil: skipped: {shown_path(folder / path)}: {reason}", file=sys.stderr)
    return [folder / path for path in tree.files if path.suffix.lower() in MEDIA_SUFFIXES]


def labeled_files(folders: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Yield media files with their classes, from folders CLASS/clip.mp4 and folders of such folders."""
    for folder in folders:
        if not folder.is_dir():
            raise InputError(
                f"{folder} is not a folder; give folders of clips, CLASS/clip.mp4, or one clip list as a .csv file"
            )
        subfolders = sorted(
            entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")
        )
        media = _media_below(folder)
        clips = [path for path in media if path.parent == folder]
        if clips and subfolders:
            raise InputError(
                f"{folder} has clips ({clips[0].name}) and folders ({subfolders[0].name}), so it is ambiguous whether "
                "it is a class or contains classes. Move the clips into a folder of their class"
            )
        classes = [folder] if clips else subfolders
        files = {each: [path for path in media if path.is_relative_to(each)] for each in classes}
        pairs = [(path, each.resolve().name) for each, paths in files.items() for path in paths]
        empty = [each.name for each, paths in files.items() if not paths]
        if not pairs or empty:
            raise InputError(f"{folder}: there is no media file in {', '.join(empty) or 'it'}")
        yield from pairs
