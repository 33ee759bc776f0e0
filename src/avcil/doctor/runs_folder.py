"""Whether runs can be written where they go, and how much room there is."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from avcil.doctor.finding import CheckResult
from avcil.errors import AvcilError

LITTLE = 2**30
"""Bytes free below which long runs are in danger: features of a thousand clips of VideoMAE take 2.4 GB."""


def runs_folder(out: Path) -> Iterator[CheckResult]:
    """Write, lock, rename and remove a file there, as runs do."""
    from avcil.utils.files import folder_lock, write_text

    folder = next(path for path in (out.absolute(), *out.absolute().parents) if os.path.lexists(path))
    try:
        with tempfile.TemporaryDirectory(prefix=".avcil-doctor-", dir=folder) as name:
            trial = Path(name)
            write_text(trial / "written", "as runs are")
            with folder_lock(trial, "trying"):
                write_text(trial / "written", "again")
        free = shutil.disk_usage(folder).free
    except (OSError, AvcilError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        yield CheckResult(
            status="broken",
            what="runs",
            figure=f"cannot write in {folder}: {reason}",
            advice="make it writable, or give commands an --out that is, and ask avcil doctor --out FOLDER",
        )
        return
    little = free < LITTLE
    yield CheckResult(
        status="broken" if little else "ok",
        what="runs",
        figure=f"{folder} can be written; {free / 2**30:.1f} GiB free",
        advice="free some room, or give commands an --out on another disk" if little else "",
    )
