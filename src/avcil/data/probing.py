"""Probing media files in parallel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from avcil.errors import InputError
from avcil.utils.cores import available_cores
from avcil.utils.files import without_path
from avcil.utils.progress import Progress

if TYPE_CHECKING:
    from avcil.media import MediaInfo


def probe_files(paths: Sequence[Path]) -> Iterator[MediaInfo | str]:
    """Probe files in parallel, with a progress bar.

    Args:
        paths: The files.

    Yields:
        For each file, in order, its properties, or the reason why it cannot be used.
    """
    progress = Progress(len(paths), "files")
    with ThreadPoolExecutor(available_cores(), thread_name_prefix="probe") as pool:
        for info in pool.map(_probe_file, paths):
            progress.step(failed=isinstance(info, str))
            yield info
    progress.close()


def _probe_file(path: Path) -> MediaInfo | str:
    from avcil.media import probe
    from avcil.media.container import unexpected_reason

    try:
        info = probe(path)
    except InputError as error:
        return without_path(error, path)
    except Exception as error:
        return unexpected_reason(error, path)
    return info if info.has_video or info.has_audio else "it has neither video nor audio"
