"""Scanning a folder of media files into a clip list.

Two layouts: SPLIT/CLASS/clip, with splits named train, val and test, and CLASS/clip, with splits drawn randomly for
each class. Subfolders of a class folder belong to the class. Unreadable files are reported and skipped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from avcil.data.clips import SPLITS, Clip, check_labels, one_line
from avcil.data.copies import check_leaks, leave_out_copies
from avcil.data.folders import FolderTree, Layout, shown_path, split_folders, walk
from avcil.data.probing import probe_files
from avcil.data.splits import check_classes, draw_splits
from avcil.errors import InputError
from avcil.utils.csv_files import write_csv
from avcil.utils.progress import duration
from avcil.utils.text_table import text_table

_SUFFIXES = (
    ".3g2 .3gp .aac .aif .aiff .amr .asf .avi .divx .dv .f4v .flac .flv .gif .m1v .m2ts .m2v .m4a .m4v .mka "
    ".mkv .mov .mp2 .mp3 .mp4 .mpeg .mpg .mts .mxf .nut .oga .ogg .ogv .opus .rm .rmvb .ts .vob .wav .weba "
    ".webm .wma .wmv .y4m"
)
MEDIA_SUFFIXES = frozenset(_SUFFIXES.split())
CLASS_FOLDERS = "a folder with one subfolder of clips per class"
SHOWN = 10


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
        ]
        lines += [f"clips without {name}: {count}" for name, count in self.missing_tracks.items() if count]
        if self.ignored:
            kinds = ", ".join(
                f"{count} {suffix or 'without a suffix'}" for suffix, count in self.ignored.items()
            )
            lines.append(f"ignored, since they are not media files: {kinds}")
        lines += listed("clips with a remark", self.remarks)
        lines += listed("skipped media files and folders", self.problems)
        return "\n".join(lines)

    def _table(self, classes: Sequence[str]) -> list[str]:
        counts = Counter((clip.label, clip.split) for clip in self.clips)
        totals = Counter(clip.split for clip in self.clips)
        rows = [
            [one_line(label), *(counts[label, split] for split in SPLITS)] for label in classes[: 6 * SHOWN]
        ]
        total = ["total", *(totals[split] for split in SPLITS)]
        lines = text_table([*rows, total], ["class", *SPLITS], indent=2).splitlines()
        if len(classes) > 6 * SHOWN:
            lines.insert(-1, f"  and {len(classes) - 6 * SHOWN} more classes")
        return lines


def listed(title: str, problems: Sequence[ClipProblem]) -> Iterator[str]:
    """Lines of text about some problems: how many there are, and the first of them; nothing if there are none."""
    if not problems:
        return
    yield f"{title}: {len(problems)}"
    for problem in problems[:SHOWN]:
        yield f"  {shown_path(problem.path)}: {one_line(problem.reason)}"
    if len(problems) > SHOWN:
        yield f"  and {len(problems) - SHOWN} more"


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
    media, ignored = media_of(folder, tree, CLASS_FOLDERS)
    splits, notes = split_folders(folder, media, layout)
    listed, problems = _clips_of(folder, media, splits)
    listed, copies = leave_out_copies(listed, is_drawn=not splits)
    notes += check_leaks(listed, str(folder))
    check_labels({clip.label for clip in listed}, str(folder))
    clips, seconds, missing_tracks, unusable, remarks = _probe(listed)
    unread = [ClipProblem(path=folder / path, reason=reason) for path, reason in tree.unread]
    left_out = [ClipProblem(path=clip.path, reason=reason) for clip, reason in copies]
    problems = sorted([*unread, *problems, *left_out, *unusable], key=lambda problem: problem.path)
    if not clips:
        first = "; ".join(f"{problem.path}: {problem.reason}" for problem in problems[:3])
        raise InputError(
            f"{folder} contains no usable media file. Clips must be in folders such as {folder}/CLASS/clip.mp4. "
            f"Skipped files: {len(problems)}{', such as ' + first if first else ''}"
        )
    clips, drawn = draw_splits(clips, set(splits.values()), val_fraction, test_fraction, seed)
    notes += drawn
    lost = sorted({clip.label for clip in listed} - {clip.label for clip in clips})
    if lost:
        notes.append(f"skipped classes without a usable clip: {', '.join(lost)}")
    check_classes(folder, clips)
    return ScanResult(
        folder=folder,
        clips=tuple(clips),
        seconds=seconds,
        missing_tracks=missing_tracks,
        problems=tuple(problems),
        ignored=ignored,
        notes=tuple(notes),
        remarks=tuple(remarks),
    )


def _check_arguments(folder: Path, val_fraction: float, test_fraction: float, seed: int) -> None:
    check_folder(folder, CLASS_FOLDERS)
    if not (0 <= val_fraction < 1 and 0 < test_fraction < 1 and val_fraction + test_fraction < 1):
        raise InputError(
            f"--val-fraction must be 0 or more, --test-fraction above 0, and their sum below 1; not "
            f"{val_fraction:g} and {test_fraction:g}"
        )
    if seed < 0:
        raise InputError(f"--seed must be 0 or more, not {seed}")


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
        suffixes = ", ".join(
            f"{count} {suffix or 'without a suffix'}" for suffix, count in others.most_common(5)
        )
        what = f"contains no media file (it contains {suffixes})" if others else "is empty"
        if tree.unread:
            path, reason = tree.unread[0]
            what = f"contains no readable media file; {len(tree.unread)} could not be read: {folder / path}: {reason}"
        raise InputError(f"the folder {folder} {what}; give {expected}")
    return media, dict(sorted(others.items()))


def check_folder(folder: Path, expected: str) -> None:
    """Raise InputError if `folder` does not exist or is a file; `expected` says which folder to give."""
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise InputError(f"the folder {folder} {what}; give {expected}")


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


def is_text(path: Path) -> bool:
    """Whether a path can be written to a text file; names that are not UTF-8 cannot."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _probe(
    found: Sequence[Clip],
) -> tuple[list[Clip], dict[str, float], dict[str, int], list[ClipProblem], list[ClipProblem]]:
    """Probe all files: usable clips, durations, numbers of missing tracks, unusable files, and remarks."""
    clips: list[Clip] = []
    seconds: dict[str, float] = {}
    missing_tracks = {"video": 0, "audio": 0}
    problems: list[ClipProblem] = []
    remarks: list[ClipProblem] = []
    for clip, info in zip(found, probe_files([clip.path for clip in found]), strict=True):
        if isinstance(info, str):
            problems.append(ClipProblem(path=clip.path, reason=info))
            continue
        clips.append(clip)
        seconds[clip.clip_id] = info.duration
        missing_tracks["video"] += not info.has_video
        missing_tracks["audio"] += not info.has_audio
        if info.problems:
            remarks.append(ClipProblem(path=clip.path, reason="; ".join(info.problems)))
    return clips, seconds, missing_tracks, problems, remarks


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
