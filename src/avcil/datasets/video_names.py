"""YouTube video ids in file names.

Recognized names, without the suffix, where ID is a YouTube id of 11 characters, and START and END are seconds into the
video (or milliseconds, as some download scripts write them):

- `ID`: AVE, and many copies of Kinetics
- `ID_START`: VGGSound, with START as 6 digits
- `ID_START_END`: Kinetics, with START and END as 6 digits
- one of these after `v_`, `video_`, `vid_`, `yt_`, `youtube_` or `Y`
- `Title [ID]` and `Title-ID`: the default names of yt-dlp and youtube-dl
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

VIDEO_ID = 11
"""Characters of a YouTube id."""
_SHORTEST_MILLISECONDS = 1000
"""END - START from which both are milliseconds: no clip of the data sets lasts this many seconds."""

_NUMBER = r"\d+(?:\.\d+)?"
_ID = rf"(?P<video>[A-Za-z0-9_-]{{{VIDEO_ID}}})"
_SECONDS = rf"(?:_(?P<start>{_NUMBER})(?:_(?P<end>{_NUMBER}))?)?"
_PATTERNS = tuple(
    re.compile(pattern, re.DOTALL | re.ASCII)
    for pattern in (
        _ID + _SECONDS,
        "(?:v_|video_|vid_|yt_|youtube_|Y)" + _ID + _SECONDS,
        r".*\[" + _ID + r"\]",
        r".+-" + _ID,
    )
)


@dataclass(frozen=True, kw_only=True)
class VideoName:
    """One way to read the name of a file."""

    video: str
    """The YouTube id."""
    start: float | None = None
    """Seconds into the video at which the file begins; None if the name does not contain it."""
    pattern: int = 0
    """Number of the recognized pattern; smaller ones are less likely to be a coincidence."""


def read_video_name(stem: str) -> Iterator[VideoName]:
    """Find YouTube ids in a file name.

    Ids contain `_` and `-`, so a name can have several readings, such as `v_` at the beginning of an id or before
    one. Which of them is right depends on the ids that exist.

    Args:
        stem: The file name without its suffix.

    Yields:
        The possible readings, the most likely first; nothing if the name contains no id.

    >>> next(read_video_name("-F5wSJwBZjU_000030_000040"))
    VideoName(video='-F5wSJwBZjU', start=30.0, pattern=0)
    >>> list(read_video_name("holiday"))
    []
    """
    for number, pattern in enumerate(_PATTERNS):
        match = pattern.fullmatch(stem)
        if match:
            groups = match.groupdict()
            start, end = (groups.get(name) for name in ("start", "end"))
            yield VideoName(video=match["video"], start=_seconds(start, end), pattern=number)


def _seconds(start: str | None, end: str | None) -> float | None:
    if start is None:
        return None
    if end is not None and float(end) - float(start) >= _SHORTEST_MILLISECONDS:
        return float(start) / 1000
    return float(start)
