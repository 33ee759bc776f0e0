"""Scanning a folder of media files into a clip list.

Two layouts: SPLIT/CLASS/clip, with splits named train, val and test, and CLASS/clip, with splits drawn randomly for
each class. Subfolders of a class folder belong to the class. Unreadable files are reported and skipped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from avcil.data.clips import SPLITS, Clip, check_labels, one_line
from avcil.data.copies import check_leaks, leave_out_copies
from avcil.data.folders import (
    Layout,
    check_folder,
    is_text,
    media_of,
    shown_path,
    shown_suffixes,
    split_folders,
    walk,
)
from avcil.data.probing import probe_files
from avcil.data.splits import check_classes, draw_splits
from avcil.errors import InputError
from avcil.utils.csv_files import write_csv
from avcil.utils.progress import duration
from avcil.utils.text_table import text_table

if TYPE_CHECKING:
    from avcil.media import MediaInfo

_CLASS_FOLDERS = "a folder with one subfolder of clips per class"
_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class ClipProblem:
    """A skipped file or folder, and the reason."""

    path: Path
    reason: str


@dataclass(frozen=True, kw_only=True)
class ScanResult:
    """The result of a scan."""

    folder: Path
    clips: tuple[Clip, ...]
    seconds: Mapping[str, float]
    """Duration of each clip by id."""
    missing_tracks: Mapping[str, int]
    """Number of clips without "video" and without "audio"."""
    problems: tuple[ClipProblem, ...]
    ignored: Mapping[str, int]
    """Number of files that are not media files, by suffix."""
    notes: tuple[str, ...]
    """Decisions of the scan that the user should know."""
    remarks: tuple[ClipProblem, ...] = ()
    """Unusual properties of listed clips, such as discontinuous time stamps."""

    @property
    def summary(self) -> str:
        """The result as text."""
        classes = sorted({clip.label for clip in self.clips})
        lengths = self.seconds.values()
        lines = [
            f"{self.folder}: {len(self.clips)} clips of {len(classes)} classes, {duration(sum(lengths))} "
            "in total "
            f"(shortest {min(lengths):.2f} s, longest {max(lengths):.2f} s)",
            *self._table(classes),
            *self.notes,
            *(f"clips without {name}: {count}" for name, count in self.missing_tracks.items() if count),
        ]
        if self.ignored:
            lines.append(f"ignored, since they are not media files: {shown_suffixes(self.ignored)}")
        lines += listed("clips with a remark", self.remarks)
        lines += listed("skipped media files and folders", self.problems)
        return "\n".join(lines)

    def _table(self, classes: Sequence[str]) -> list[str]:
        counts = Counter((clip.label, clip.split) for clip in self.clips)
        totals = Counter(clip.split for clip in self.clips)
        rows = [
            [one_line(label), *(counts[label, split] for split in SPLITS)] for label in classes[: 6 * _SHOWN]
        ]
        total = ["total", *(totals[split] for split in SPLITS)]
        lines = text_table([*rows, total], ["class", *SPLITS], indent=2).splitlines()
        if len(classes) > 6 * _SHOWN:
            lines.insert(-1, f"  and {len(classes) - 6 * _SHOWN} more classes")
        return lines


def listed(title: str, problems: Sequence[ClipProblem]) -> Iterator[str]:
    """Lines of text about some problems: how many there are, and the first of them; nothing if there are none."""
    if not problems:
        return
    yield f"{title}: {len(problems)}"
    for problem in problems[:_SHOWN]:
        yield f"  {shown_path(problem.path)}: {one_line(problem.reason)}"
    if len(problems) > _SHOWN:
        yield f"  and {len(problems) - _SHOWN} more"


def scan(
    folder: str | Path,
    *,
    val_fraction: float = 0.15,
    test_fraction: float = 0.2,
    seed: int = 0,
    layout: Layout | None = None,
) -> ScanResult:
    """List the clips of a folder, and report unusable files.

    If the folder has no splits, or lacks val or test, clips of each class are drawn for them, at least one per class.
    The draw for a class does not depend on other classes.

    Args:
        folder: The folder.
        val_fraction: Fraction of each class drawn for val; 0 draws none.
        test_fraction: Fraction of each class drawn for test.
        seed: Seed of the draw.
        layout: "class" for CLASS/clip, "split" for SPLIT/CLASS/clip; None detects it.

    Raises:
        InputError: The folder does not exist or has no usable file, the layout is ambiguous, a file is in two splits, a
            class has too few clips, or labels are too similar.
    """
    folder = Path(folder)
    _check_arguments(folder, val_fraction, test_fraction, seed)
    tree = walk(folder)
    media, ignored = media_of(folder, tree, _CLASS_FOLDERS)
    splits, notes = split_folders(folder, media, layout)
    found, problems = _clips_of(folder, media, splits)
    found, copies = leave_out_copies(found, is_drawn=not splits)
    notes += check_leaks(found, str(folder))
    check_labels({clip.label for clip in found}, str(folder))
    problems += [ClipProblem(path=folder / path, reason=reason) for path, reason in tree.unread]
    problems += [ClipProblem(path=clip.path, reason=reason) for clip, reason in copies]
    probed = _Probed()
    for clip, info in zip(found, probe_files([clip.path for clip in found]), strict=True):
        probed.add(clip, info)
    problems = sorted([*problems, *probed.problems], key=lambda problem: problem.path)
    if not probed.clips:
        raise _nothing_usable(folder, problems)
    clips, drawn = draw_splits(probed.clips, set(splits.values()), val_fraction, test_fraction, seed)
    if lost := sorted({clip.label for clip in found} - {clip.label for clip in clips}):
        drawn.append(f"skipped classes without a usable clip: {', '.join(lost)}")
    check_classes(folder, clips)
    return ScanResult(
        folder=folder,
        clips=tuple(clips),
        missing_tracks=probed.missing_tracks,
        remarks=tuple(probed.remarks),
        ignored=ignored,
        seconds=probed.seconds,
        problems=tuple(problems),
        notes=(*notes, *drawn),
    )


def _nothing_usable(folder: Path, problems: Sequence[ClipProblem]) -> InputError:
    first = "; ".join(f"{problem.path}: {problem.reason}" for problem in problems[:3])
    return InputError(
        f"{folder} contains no usable media file. Clips must be in folders such as {folder}/CLASS/clip.mp4. "
        f"Skipped files: {len(problems)}{', such as ' + first if first else ''}"
    )


def _check_arguments(folder: Path, val_fraction: float, test_fraction: float, seed: int) -> None:
    check_folder(folder, _CLASS_FOLDERS)
    if not (0 <= val_fraction < 1 and 0 < test_fraction < 1 and val_fraction + test_fraction < 1):
        raise InputError(
            f"--val-fraction must be 0 or more, --test-fraction above 0, and their sum below 1; not "
            f"{val_fraction:g} and {test_fraction:g}"
        )
    if seed < 0:
        raise InputError(f"--seed must be 0 or more, not {seed}")


def _clips_of(
    folder: Path, media: Sequence[Path], splits: Mapping[str, str]
) -> tuple[list[Clip], list[ClipProblem]]:
    """A clip for each media file in a class folder; its id is its path relative to `folder`."""
    clips, problems = [], []
    depth = 1 if splits else 0
    for path in media:
        if len(path.parts) < depth + 2:
            problems.append(ClipProblem(path=folder / path, reason="it is not in a class folder"))
        elif not is_text(path):
            problems.append(ClipProblem(path=folder / path, reason="its name is not valid UTF-8; rename it"))
        else:
            split = splits.get(path.parts[0], "train")
            label = path.parts[depth]
            clips.append(Clip(clip_id=path.as_posix(), path=folder / path, label=label, split=split))
    return clips, problems


@dataclass(kw_only=True)
class _Probed:
    """Properties of the files of clips; `clips` are the usable ones."""

    clips: list[Clip] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    missing_tracks: dict[str, int] = field(default_factory=lambda: {"video": 0, "audio": 0})
    problems: list[ClipProblem] = field(default_factory=list)
    remarks: list[ClipProblem] = field(default_factory=list)

    def add(self, clip: Clip, info: MediaInfo | str) -> None:
        """Record a result of `probe_files`."""
        if isinstance(info, str):
            self.problems.append(ClipProblem(path=clip.path, reason=info))
            return
        self.clips.append(clip)
        self.seconds[clip.clip_id] = info.duration
        self.missing_tracks["video"] += not info.has_video
        self.missing_tracks["audio"] += not info.has_audio
        if info.problems:
            self.remarks.append(ClipProblem(path=clip.path, reason="; ".join(info.problems)))


def write_problems(
    clip_list: Path, problems: Sequence[ClipProblem], *, kind: str = "problems"
) -> Path | None:
    """Write files with reasons next to the clip list, as path,reason; without any, an existing file is removed.

    Args:
        clip_list: The clip list.
        problems: The skipped files, or those with a remark.
        kind: Middle of the file name, LIST.KIND.csv.
    """
    path = Path(clip_list).with_name(f"{Path(clip_list).stem}.{kind}.csv")
    if not problems:
        path.unlink(missing_ok=True)
        return None
    write_csv(path, ["path", "reason"], [(problem.path, problem.reason) for problem in problems])
    return path
