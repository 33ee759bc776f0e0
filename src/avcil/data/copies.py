"""Duplicate files in a clip list.

A file in two splits is a leak: the model is tested on training data. Files are compared by device and inode, so that
different spellings of a path, symbolic links and hard links are detected; content is compared by size and hash.
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

_SHOWN = 3
HEAD = 1 << 16
"""Bytes that are compared first; only files with the same beginning are read completely."""


def leave_out_copies(clips: Sequence[Clip], *, is_drawn: bool) -> tuple[list[Clip], list[tuple[Clip, str]]]:
    """Remove clips whose file occurs earlier in the list, unless they are in different given splits.

    Args:
        clips: Whole files.
        is_drawn: Whether splits will be drawn. Then copies of a file are removed as well, since they could be drawn
            into different splits.

    Returns:
        The remaining clips, and the removed ones with the reason. A file with two classes is removed from both.
    """
    left_out: dict[str, str] = {}
    kinds = [(_by_file(clips), "the same file as")]
    if is_drawn:
        kinds.append((_by_content(clips), "a copy of"))
    for groups, what in kinds:
        for group in groups:
            group = [clip for clip in group if clip.clip_id not in left_out]
            if len({clip.split for clip in group}) != 1:  # reported by `check_leaks`
                continue
            if len({clip.label for clip in group}) > 1:
                for clip in group:
                    other = next(one for one in group if one.label != clip.label)
                    left_out[clip.clip_id] = (
                        f"it is {what} {other.path}, of another class; a clip has one class"
                    )
            else:
                left_out |= {clip.clip_id: f"it is {what} {group[0].path}" for clip in group[1:]}
    remaining = [clip for clip in clips if clip.clip_id not in left_out]
    return remaining, [(clip, left_out[clip.clip_id]) for clip in clips if clip.clip_id in left_out]


def check_leaks(clips: Sequence[Clip], where: str) -> list[str]:
    """Check that no file is in two splits. Segments of a file count as different clips if they do not overlap.

    Returns:
        Notes about other duplicates.

    Raises:
        InputError: The same segment of a file, or a part of it, is in two splits.
    """
    repeated: list[tuple[Clip, Clip]] = []
    leaks: list[tuple[Clip, Clip]] = []
    for group in _by_file(clips):
        pairs = _overlapping(group)
        leaks += [pair for pair in pairs if pair[0].split != pair[1].split]
        repeated += [pair for pair in pairs if pair[0].split == pair[1].split]
    if leaks:
        raise InputError(
            f"{where}: the same file is in two splits, so the model would be tested on training data: "
            f"{_shown(leaks)}. Remove the file from one of them"
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
            f"warning: files with the same content in two splits, so the model is tested on training data: "
            f"{_shown(copies)}"
        )
    return notes


def _overlapping(group: Sequence[Clip]) -> list[tuple[Clip, Clip]]:
    """Pairs of clips that overlap in time."""
    order = sorted(group, key=lambda clip: (clip.start or 0.0, clip.clip_id))
    pairs, longest = [], order[0]
    for clip in order[1:]:
        if longest.end is None or (clip.start or 0.0) < longest.end:
            pairs.append((longest, clip))
        if longest.end is not None and (clip.end is None or clip.end > longest.end):
            longest = clip
    return pairs


def _shown(pairs: Sequence[tuple[Clip, Clip]]) -> str:
    texts = [f"{a.path} ({a.split}) and {b.path} ({b.split})" for a, b in pairs[:_SHOWN]]
    return "; ".join(texts) + (f"; and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else "")


def _groups(keys: Iterable[tuple[Hashable | None, Clip]]) -> list[list[Clip]]:
    """Groups of several clips with the same key; clips with the key None are ignored."""
    groups: dict[Hashable, list[Clip]] = defaultdict(list)
    for key, clip in keys:
        if key is not None:
            groups[key].append(clip)
    return [group for group in groups.values() if len(group) > 1]


def _by_file(clips: Sequence[Clip]) -> list[list[Clip]]:
    return _groups((_file(clip.path), clip) for clip in clips)


def _file(path: Path) -> Hashable:
    """Device and inode; the path if the file does not exist."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return os.path.abspath(path)
    return status.st_dev, status.st_ino


def _by_content(clips: Sequence[Clip]) -> list[list[Clip]]:
    """Groups of different files with the same content, compared by size, then beginning, then completely."""
    files: dict[Hashable, Clip] = {}
    for clip in clips:
        files.setdefault(_file(clip.path), clip)
    groups = _groups((_size(clip.path), clip) for clip in files.values())
    for most in (HEAD, None):
        groups = [part for group in groups for part in _groups((_digest(c.path, most), c) for c in group)]
    return groups


def _size(path: Path) -> int | None:
    """Size of a non-empty regular file; otherwise None."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_size or None if stat.S_ISREG(status.st_mode) else None


def _digest(path: Path, most: int | None) -> bytes | None:
    """SHA-256 of the first `most` bytes, or of the whole file; None if it cannot be read."""
    try:
        with open(path, "rb") as file:
            if most is not None:
                return hashlib.sha256(file.read(most)).digest()
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return None
