"""What a user wants to know of an encoder before choosing it; each encoder class has one as `info`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EncoderInfo:
    """License, weights, and intended use of an encoder."""

    license: str
    """Of the weights, as an SPDX identifier or in words; of avcil itself where nothing was learned."""
    purpose: str
    """What it is good for, in a phrase."""
    packaged: str | None = None
    """The file in encoders/weights/ that holds its weights, where they are part of the package."""
    downloaded_bytes: int | None = None
    """Size of the weights that are downloaded at first use; None if it depends on the model, or there are none."""
    extra: str | None = None
    """The extra of avcil's installation that it needs."""
    features: tuple[int, ...] | None = None
    """Shape of what it gives, for encoders that cannot be built without a download: (T, S, D) or (D,)."""
    needs_source: bool = False
    """Whether the user names a model behind a colon."""

    @property
    def is_built_in(self) -> bool:
        """Whether it works right after installation: no extra, no download, no model to name."""
        return self.downloaded_bytes is None and self.extra is None and not self.needs_source
