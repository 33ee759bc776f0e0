"""Folders of small files for scanning, and a probe that reads their kind from their content."""

import types

from avcil.errors import InputError


def fake_probe(path):
    kind = path.read_text().split()[0]
    if kind not in ("av", "video", "audio"):
        raise InputError(f"{path} is not a media file that can be read: invalid data")
    problems = ("the time stamps jump once",) if "odd" in path.name else ()
    return types.SimpleNamespace(
        duration=1.5, has_video=kind != "audio", has_audio=kind != "video", problems=problems
    )


def make(root, *names, kind="av"):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(
            f"{kind} {name}".encode(errors="surrogateescape")
        )  # no two files are copies of each other
    return root


def numbered(folder, n):
    return [f"{folder}/{k}.mp4" for k in range(n)]


def by_split(result, label):
    return {s: sum(c.split == s and c.label == label for c in result.clips) for s in ("train", "val", "test")}
