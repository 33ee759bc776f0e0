"""The published protocols of AVE-CI, K-S-CI and VS100-CI: classes, steps, exemplars, epochs, released files.

Source: Pian, Mo, Guo, Tian, "Audio-Visual Class-Incremental Learning", ICCV 2023 (arXiv 2308.11073), and the settings
of the authors' release (weiguoPian/AV-CIL_ICCV2023). The released files are not part of this project; they are
identified by SHA-256.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from avcil.data.modality import Modality
from avcil.errors import unknown_name

CLASS_CLIPS = "all_classId_vid_dict.npy"
CLIP_CLASSES = "all_id_category_dict.npy"
CLASS_IDS = "category_encode_dict.npy"
SPLIT_FILES = (CLASS_CLIPS, CLIP_CLASSES, CLASS_IDS)
LEAK_FREE = "-leak-free"

MODALITIES = (Modality.AUDIO, Modality.VISUAL, Modality.AUDIO_VISUAL)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The settings of one benchmark in the paper and the authors' release."""

    name: str
    title: str
    """Name in the paper."""
    folder: str
    """Folder of the split files in data/ of the release."""
    classes: int
    classes_per_step: int
    exemplars: int
    """Total number of exemplars."""
    clips: Mapping[str, int]
    """Number of clips of each split."""
    epochs: Mapping[str, Mapping[str, int]]
    """Epochs per step, by method and modality."""
    lambda_instance: float
    """AV-CIL's weight of the instance-aware constraint."""
    sha256: Mapping[str, str]
    """Checksums of the split files."""
    feature_parts: tuple[str, ...]
    """Files of the archive of the authors' features; several files are concatenated."""
    leak_free: bool = False
    """Whether test and validation clips cut from a video that also has a training clip are left out."""

    @property
    def steps(self) -> int:
        """Number of steps."""
        return -(-self.classes // self.classes_per_step)


def _epochs(
    fine_tuning: str, joint: str, lwf: str, icarl: str, ss_il: str, afc: str
) -> Mapping[str, Mapping]:
    """Epochs by method, each given as "audio/visual/audio-visual"; AV-CIL always uses both modalities."""
    given = {
        "fine-tuning": fine_tuning,
        "joint": joint,
        "lwf": lwf,
        "icarl": icarl,
        "ss-il": ss_il,
        "afc": afc,
    }
    table = {
        method: dict(zip(MODALITIES, map(int, text.split("/")), strict=True))
        for method, text in given.items()
    }
    return MappingProxyType({**table, "av-cil": {"audio-visual": 200}})


AVE = Protocol(
    name="ave-ci",
    title="AVE-CI",
    folder="AVE",
    classes=28,
    classes_per_step=7,
    exemplars=340,
    clips={"train": 3294, "val": 391, "test": 394},
    epochs=_epochs("300/200/150", "300/200/150", "300/200/200", "300/200/150", "300/200/200", "300/200/150"),
    lambda_instance=0.5,
    sha256={
        CLASS_CLIPS: "d65fd73899eb662d0cba81179941c7981cd8c5b78d701061e6187b74497cdc90",
        CLIP_CLASSES: "c04d6d47d2d99d79544029629e2205d940114b42d096bd46f782bfd3976e79b8",
        CLASS_IDS: "a68b0eb9b6c1a840cfe18e033126244499311ad252593a1e9ef7ffd6ae4820e5",
    },
    feature_parts=("AVE_features.zip",),
)

KINETICS_SOUNDS = Protocol(
    name="ks-ci",
    title="K-S-CI",
    folder="kinetics-sounds",
    classes=30,
    classes_per_step=6,
    exemplars=500,
    clips={"train": 19220, "val": 1947, "test": 1958},
    epochs=_epochs("300/150/150", "200/100/100", "200/200/100", "200/100/100", "300/100/100", "300/100/100"),
    lambda_instance=0.1,
    sha256={
        CLASS_CLIPS: "2269dc1c6aed27a7ece90a509a94a27a5a0f4a74817dd70078d51ffd3db001d3",
        CLIP_CLASSES: "3b8e3b4657a4b20141b194f6cec9c5cb648cbb636787a4de1806c1facfc943c8",
        CLASS_IDS: "42fb227c552d2ee1b91cde9ebf5894ad6ecc621e8c83ead21a99e2ad561b2a83",
    },
    feature_parts=tuple(f"KS_features.zip.a{letter}" for letter in "abc"),
)


def _vggsound(*, leak_free: bool) -> Protocol:
    clips = {"train": 51195, "val": 5000, "test": 5000}
    return Protocol(
        name="vs100-ci" + (LEAK_FREE if leak_free else ""),
        title="VS100-CI" + (" (leak-free)" if leak_free else ""),
        folder="VGGSound_100",
        classes=100,
        classes_per_step=10,
        exemplars=1500,
        clips={"train": 51195, "val": 3329, "test": 3373} if leak_free else clips,
        epochs=_epochs(*["300/200/200"] * 6),
        lambda_instance=0.1,
        sha256={
            CLASS_CLIPS: "24ca3c64b5f292c061d8eee71f90d4ff08fa1b4a42afd2b96b0691511f4fe93a",
            CLIP_CLASSES: "1023cae09011b6719c356cdbc62a184d672f38424c3c60e41f24fdc37247d1a4",
            CLASS_IDS: "959fea6b6d2e531aea5b6819f09702f412fee8b4d68b3ca6658376af7b55d043",
        },
        feature_parts=tuple(f"VS100_features.zip.a{letter}" for letter in "abcdef"),
        leak_free=leak_free,
    )


PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {p.name: p for p in (AVE, KINETICS_SOUNDS, _vggsound(leak_free=False), _vggsound(leak_free=True))}
)


def protocol(name: str) -> Protocol:
    """The published protocol with this name.

    >>> protocol("ave-ci").steps
    4
    """
    if name not in PROTOCOLS:
        raise unknown_name("benchmark", name, PROTOCOLS)
    return PROTOCOLS[name]
