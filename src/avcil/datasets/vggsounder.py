"""VGGSounder: labels of VGGSound's test clips by several annotators, with the modality of each.

VGGSound gives each clip one label. VGGSounder (Zverev, Wiedemer, Prabhu, Bethge, Brendel and Koepke, ICCV 2025, arXiv
2508.08237; github.com/Bizilizi/VGGSounder, Apache-2.0) lists all classes that can be heard or seen in the clips of
VGGSound's test split. VS100-CI has its own splits, so only a part of its test clips is annotated. The file is not part
of this package.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from avcil.datasets.fetch import cache_folder
from avcil.errors import InputError
from avcil.utils.csv_files import read_columns
from avcil.utils.download import RetryPolicy, download

URL = (
    "https://raw.githubusercontent.com/Bizilizi/VGGSounder/d8b5e904c2e5edb2567538f48c3c939807a132db/"
    "vggsounder/data/vggsounder.csv"
)
"""Version 1.0, clips with background music left out, as in the project's default evaluation."""
SHA256 = "400979ea3dee34bed145d3fd96966e16689352df63b645c4730caf8eb2cacb06"
COLUMNS = ("video_id", "label", "modality")
_MODALITIES = {"A": ("audible",), "V": ("visible",), "AV": ("audible", "visible")}
_CUT_NAMES = {"subway, metro, underground": "subway, metr"}
"""Class names of VGGSound that are cut in the release of AV-CIL."""

Annotations = Mapping[str, Mapping[str, tuple[str, ...]]]
"""By clip id and class name: whether the class is "audible", "visible", or both."""


def fetch_annotations(*, cache: Path | None = None, url: str = URL, retry: RetryPolicy | None = None) -> Path:
    """Get the annotation file from the cache; it is downloaded if necessary.

    Args:
        cache: The folder of downloads. Default: as for the split files.
        url: Where to download from.
        retry: How often a failed download is tried again.

    Returns:
        The path of the file.

    Raises:
        AvcilError: If the download fails, or the file is not the published one.
    """
    return download(
        url,
        (cache or cache_folder()) / "vggsounder" / "vggsounder.csv",
        sha256=SHA256,
        retry=retry or RetryPolicy(attempts=3),
        offline_advice="Without a connection: copy vggsounder/data/vggsounder.csv of github.com/Bizilizi/VGGSounder "
        "to this machine and give it with --annotations FILE",
    )


def read_annotations(path: Path) -> Annotations:
    """Read an annotation file of VGGSounder, of any version.

    Args:
        path: A CSV file with the columns video_id, label and modality (A, V or AV), one line for each label.

    Returns:
        The labels of each clip, with class names as in the release of AV-CIL.

    Raises:
        InputError: If the file is missing, is not UTF-8 text, or has other columns or values.
    """
    labels: dict[str, dict[str, tuple[str, ...]]] = defaultdict(dict)
    for where, (clip_id, label, modality) in read_columns(path, COLUMNS, expected=_EXPECTED):
        if not clip_id or not label or modality not in _MODALITIES:
            raise InputError(
                f"{where}: a clip id, a label and a modality ({', '.join(_MODALITIES)}) are "
                f"expected, not {clip_id!r:.40}, {label!r:.40} and {modality!r:.10}"
            )
        labels[clip_id][_CUT_NAMES.get(label, label)] = _MODALITIES[modality]
    return dict(labels)


_EXPECTED = f"Expected is the file vggsounder.csv, a CSV file with the columns {', '.join(COLUMNS)}"
