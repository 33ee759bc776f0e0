"""Information for choosing an encoder: the class attribute `info` of encoders."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EncoderInfo:
    """License, weights, and intended use of an encoder."""

    license: str
    """License of the weights, as an SPDX identifier or text, such as "no weights"."""
    purpose: str
    """Intended use, as a phrase."""
    packaged: str | None = None
    """File of its weights in encoders/weights/, if they are part of the package."""
    downloaded_bytes: int | None = None
    """Size of the weights that are downloaded at first use; None if it depends on the model, or there are none."""
    extra: str | None = None
    """The extra of avcil that it needs."""
    features: tuple[int, ...] | None = None
    """Shape of the features, (T, S, D) or (D,), for encoders that need a download."""
    needs_source: bool = False
    """Whether the user must name a model after a colon."""

    @property
    def is_built_in(self) -> bool:
        """Whether it needs no extra, no download and no model name."""
        return self.downloaded_bytes is None and self.extra is None and not self.needs_source
