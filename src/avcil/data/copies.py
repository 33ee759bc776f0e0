"""The same file, or the same content, more than once in a clip list.

A file in two splits is a leak: the model is tested on what it has learnt. Files are compared by device and inode, so
that other spellings of a path, symbolic links and hard links are seen through; content by size and hash.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path

from avcil.data.clips import Clip
from avcil.errors import InputError

SHOWN = 3
HEAD = 1 << 16
"""Bytes that are compared first, so that only files that begin alike are read whole."""


def leave_out_copies(clips: Sequence[Clip], *, is_drawn: bool) -> tuple[list[Clip], list[tuple[Clip, str]]]:
    """Drop clips whose file is listed before, where that is no leak between given splits.

    Args:
        clips: Whole files.
        is_drawn: Whether splits are still to be drawn. Then files of equal content are dropped, too: they would be
            drawn to different splits.

    Returns:
        The clips that stay, and those that are left out with the reason. A file that has two classes is left out
        under both, as there is no telling which is right.
    """
    left_out: dict[str, str] = {}
    kinds = [(_by_file(clips), "the same file as")]
    if is_drawn:
        kinds.append((_by_content(clips), "a copy of"))
    for groups, what in kinds:
        for group in groups:
            group = [clip for clip in group if clip.clip_id not in left_out]
            if len({clip.split for clip in group}) != 1:  # `check_leaks` says what is to be said
                continue
            if len({clip.label for clip in group}) > 1:
                for clip in group:
                    other = next(one for one in group if one.label != clip.label)
                    left_out[clip.clip_id] = (
                        f"it is {what} {other.path}, of another class; a clip has one class"
                    )
            else:
                left_out |= {clip.clip_id: f"it is {what} {group[0].path}" for clip in group[1:]}
    kept = [clip for clip in clips if clip.clip_id not in left_out]
    return kept, [(clip, left_out[clip.clip_id]) for clip in clips if clip.clip_id in left_out]


def check_leaks(clips: Sequence[Clip], where: str) -> list[str]:
    """Refuse a file that is in two splits, and note other repetitions.

    Stretches of one file count as different clips where they do not overlap.

    Raises:
        InputError: If two splits have the same stretch of the same file, or a part of it.
    """
    repeated: list[tuple[Clip, Clip]] = []
    leaks: list[tuple[Clip, Clip]] = []
    for group in _by_file(clips):
        pairs = _overlapping(group)
        leaks += [pair for pair in pairs if pair[0].split != pair[1].split]
        repeated += [pair for pair in pairs if pair[0].split == pair[1].split]
    if leaks:
        raise InputError(
            f"{where}: the same file is in two splits, so that the model would be tested on what it learnt: "
            f"{_shown(leaks)}. Take the file out of one of them"
        )
    notes = []
    if repeated:
        notes.append(f"the same file is listed more than once in a split: {_shown(repeated)}")
    copies = [
        (group[0], clip)
        for group in _by_content([clip for clip in clips if clip.start is None and clip.end is None])
        for clip in group[1:]
        if clip.split != group[0].split
    ]
    if copies:
        notes.append(
            f"warning: files of equal content in two splits, so that the model is tested on what it learnt: "
            f"{_shown(copies)}"
        )
    return notes


def _overlapping(group: Sequence[Clip]) -> list[tuple[Clip, Clip]]:
    """Pairs of neighbors in time that overlap."""
    order = sorted(group, key=lambda clip: (clip.start or 0.0, clip.clip_id))
    pairs, longest = [], order[0]
    for clip in order[1:]:
        if longest.end is None or (clip.start or 0.0) < longest.end:
            pairs.append((longest, clip))
        if longest.end is not None and (clip.end is None or clip.end > longest.end):
            longest = clip
    return pairs


def _shown(pairs: Sequence[tuple[Clip, Clip]]) -> str:
    texts = [f"{a.path} ({a.split}) and {b.path} ({b.split})" for a, b in pairs[:SHOWN]]
    return "; ".join(texts) + (f"; and {len(pairs) - SHOWN} more" if len(pairs) > SHOWN else "")


def _groups(keys: Iterable[tuple[Hashable | None, Clip]]) -> list[list[Clip]]:
    """Clips of equal key, where there are several; None is the key of none."""
    found: dict[Hashable, list[Clip]] = defaultdict(list)
    for key, clip in keys:
        if key is not None:
            found[key].append(clip)
    return [group for group in found.values() if len(group) > 1]


def _by_file(clips: Sequence[Clip]) -> list[list[Clip]]:
    return _groups((_file(clip.path), clip) for clip in clips)


def _file(path: Path) -> Hashable:
    """Device and inode; the path where there is no file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return os.path.abspath(path)
    return status.st_dev, status.st_ino


def _by_content(clips: Sequence[Clip]) -> list[list[Clip]]:
    """Different files of equal content: by size, then by their beginning, then by all of it."""
    files: dict[Hashable, Clip] = {}
    for clip in clips:
        files.setdefault(_file(clip.path), clip)
    groups = _groups((_size(clip.path), clip) for clip in files.values())
    for most in (HEAD, None):
        groups = [part for group in groups for part in _groups((_digest(c.path, most), c) for c in group)]
    return groups


def _size(path: Path) -> int | None:
    """Of a regular file that is not empty; else None."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_size or None if stat.S_ISREG(status.st_mode) else None


def _digest(path: Path, most: int | None) -> bytes | None:
    """SHA-256 of the first `most` bytes, or of all; None for a file that cannot be read."""
    try:
        with open(path, "rb") as file:
            if most is not None:
                return hashlib.sha256(file.read(most)).digest()
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return None
