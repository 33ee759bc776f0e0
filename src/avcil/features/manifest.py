"""`manifest.json` of a feature store: shapes, encoders and settings of the extraction."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from avcil.encoders.parts import is_joint, written_name
from avcil.errors import InputError
from avcil.features.feature_spec import FeatureSpec, json_object
from avcil.features.store_folder import OTHER_FOLDER
from avcil.utils.files import read_json, write_json
from avcil.utils.listing import difference

_FORMAT = "avcil-features"
VERSION = 1
_DTYPES = ("float16", "float32")
MISSING = ("skip", "keep", "fail")
ZERO = "zero"
"""The policy of old stores; they are read like those with `keep`."""
IMPORTED = "released:"
"""Prefix of the encoder name of imported features, for which there is no encoder."""
_MAX_ELEMENTS = 1 << 28
"""Maximum number of elements of a clip's array: one GiB in float32."""
_TITLES = {
    "visual": "visual encoder",
    "audio": "audio encoder",
    "audio_tokens": "choice of audio tokens",
    "missing": "value of --missing",
}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The description of a feature store; two stores with equal `identity()` can share clips.

    >>> Manifest(audio=FeatureSpec(shape=(8,))).arrays()
    {'audio': (8,)}
    """

    visual: FeatureSpec | None = None
    audio: FeatureSpec | None = None
    audio_tokens: FeatureSpec | None = None
    """Tokens from which the audio vector was computed, if stored; no method of the paper uses them."""
    dtype: str = "float16"
    """float16 (half the size) or float32."""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """How clips were read: frames, short side, sample rate."""
    missing: str = "skip"
    """Policy for clips that lack a modality: skip (list it), keep (store the other one), fail (stop)."""
    libraries: Mapping[str, str] = field(default_factory=dict)
    """Versions of libraries. Informational; not part of the identity."""

    FORMS: ClassVar[dict[str, str]] = {"visual": "(T, S, D)", "audio": "(D,)", "audio_tokens": "(N, D)"}

    def __post_init__(self) -> None:
        if self.dtype not in _DTYPES:
            raise InputError(f"a feature store's dtype is {' or '.join(_DTYPES)}, not {self.dtype!r}")
        if self.missing not in (*MISSING, ZERO):
            check_missing(self.missing)
        if not self.arrays():
            raise InputError("a feature store needs visual features, audio features or both")
        for name, shape in self.arrays().items():
            form = self.FORMS[name]
            if len(shape) != form.count(",") + (form[-2] != ",") or not all(
                type(n) is int and n > 0 for n in shape
            ):
                raise InputError(
                    f"the shape of {name} features must be {form} with positive integers, not {shape!r:.100}"
                )
            if math.prod(shape) > _MAX_ELEMENTS:
                raise InputError(f"{name} features {shape} have more than {_MAX_ELEMENTS} elements per clip")

    def arrays(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the stored arrays of a clip, by name."""
        pairs = {name: getattr(self, name) for name in self.FORMS}
        return {name: tuple(modality.shape) for name, modality in pairs.items() if modality is not None}

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""

        def of(modality: FeatureSpec | None) -> dict[str, Any] | None:
            return None if modality is None else modality.to_dict()

        value = {
            "format": _FORMAT,
            "version": VERSION,
            "dtype": self.dtype,
            "visual": of(self.visual),
            "audio": of(self.audio),
            "sampling": dict(self.sampling),
            "missing": self.missing,
            "libraries": dict(self.libraries),
        }
        if self.audio_tokens is not None:  # absent in other stores, as in earlier versions
            value["audio_tokens"] = of(self.audio_tokens)
        return json.loads(json.dumps(value))  # tuples in fingerprints become lists

    def identity(self) -> dict[str, Any]:
        """Everything that determines the features of a clip; constants do not."""
        value = {key: value for key, value in self.to_dict().items() if key != "libraries"}
        for name in self.arrays():
            value[name] = {key: value[name][key] for key in ("shape", "encoder")}
        return value

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest of a store; InputError if it is missing or invalid."""
        folder = Path(folder)
        path = folder / "manifest.json"
        if not folder.is_dir():
            what = "is not a folder" if folder.exists() else "does not exist"
            raise InputError(
                f"the feature store {folder} {what}; make one with: avcil extract clips.csv --out {folder}"
            )
        if not path.is_file():
            raise InputError(
                f"{folder} is not a feature store: it has no manifest.json. Make one with: "
                "avcil extract clips.csv --out FOLDER"
            )
        value = read_json(path)
        if not isinstance(value, dict) or value.get("format") != _FORMAT:
            raise InputError(f"{path} does not describe a feature store: its format is not {_FORMAT!r}")
        if type(value.get("version")) is not int or value["version"] != VERSION:
            raise InputError(
                f"{path} has format version {value.get('version')!r}; this avcil reads version {VERSION}. "
                "Use the version of avcil that wrote it, or extract the features again"
            )
        try:
            return cls.from_dict(value)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path} is damaged ({type(error).__name__}: {error}); extract the features again"
            ) from None

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Manifest:
        """The inverse of `to_dict`; LookupError, TypeError or AttributeError for other values."""

        def modality(name: str) -> FeatureSpec | None:
            stored = value.get(name) if name == "audio_tokens" else value[name]
            return None if stored is None else FeatureSpec.from_dict(stored)

        return cls(
            **{name: modality(name) for name in cls.FORMS},
            dtype=value["dtype"],
            missing=value["missing"],
            sampling=json_object(value, "sampling"),
            libraries=json_object(value, "libraries"),
        )

    def write(self, folder: Path) -> None:
        """Write `manifest.json` atomically."""
        write_json(Path(folder) / "manifest.json", self.to_dict())

    def check_identity(self, stored: Manifest, folder: Path) -> None:
        """Raise InputError if the stored manifest has another identity than this one."""
        own_identity, stored_identity = self.identity(), stored.identity()
        if stored_identity["missing"] == ZERO and own_identity["missing"] == "keep":
            own_identity["missing"] = ZERO
        for key in own_identity | stored_identity:
            own, existing = own_identity.get(key), stored_identity.get(key)
            if own != existing:
                raise InputError(
                    f"the feature store {folder} was made with another {_TITLES.get(key, key)}. Stored and "
                    f"requested: {_difference(existing, own)}. {OTHER_FOLDER}{self._encoders_of(stored)}"
                )

    def _encoders_of(self, stored: Manifest) -> str:
        """The options of `avcil extract` for the encoders of a store that differ from those of this manifest."""
        if stored.visual is not None and is_joint(stored.visual.encoder):
            return f". To add clips to it, use its encoder: --joint {written_name(stored.visual.encoder)}"
        options = []
        for name in ("visual", "audio"):
            made_with, spec = (getattr(manifest, name) for manifest in (stored, self))
            if (
                made_with is None
                or spec is None
                or not made_with.encoder.get("name")
                or made_with.encoder == spec.encoder
            ):
                continue
            if not str(made_with.encoder["name"]).startswith(IMPORTED):
                options.append(f"--{name} {written_name(made_with.encoder)}")
        return f". To add clips to it, use its encoders: {' '.join(options)}" if options else ""


def _difference(existing: Any, own: Any) -> str:
    """The names of two encoders, or the entries in which two equally named encoders or other values differ."""
    names = [
        value["encoder"].get("name") if isinstance(value, Mapping) and "encoder" in value else None
        for value in (existing, own)
    ]
    return (
        difference(existing, own)
        if names[0] == names[1]
        else f"{names[0] or 'none'} and {names[1] or 'none'}"
    )


def check_missing(policy: str) -> None:
    """Raise InputError for an unknown policy."""
    if policy == ZERO:
        raise InputError(
            "the policy 'zero' for a missing modality was removed, since training used the zeros as features. "
            "Use keep: a clip is stored with the modality that it has, and is used where that is sufficient"
        )
    if policy not in MISSING:
        raise InputError(f"the policy for a missing modality must be {', '.join(MISSING)}; not {policy!r}")


def modality_of(array: str) -> str:
    """ "visual" or "audio": what a clip must have for this array.

    >>> modality_of("audio_tokens")
    'audio'
    """
    return array.partition("_")[0]
