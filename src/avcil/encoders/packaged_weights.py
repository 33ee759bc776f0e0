"""Weights that are part of the package: safetensors files whose SHA-256 is checked at the first use.

scripts/make_encoder_weights.py converts them from the published files.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

from torch import Tensor

from avcil.errors import AvcilError

SHA256 = {
    "yamnet": "803e0b87d566b5554a3744be07788eda528d1f1e14c1eff4a472285e736bca40",
    "efficientnet_lite0": "f8d3b4ab16e8a987c4c49cced8979143b91499c03d496ec3d44a5bdec1b6993f",
}
"""SHA-256 of weights/NAME.safetensors."""


@cache
def packaged_weights(name: str) -> dict[str, Tensor]:
    """The tensors of weights/NAME.safetensors, on the CPU; callers must not change them.

    Raises:
        AvcilError: The file is missing or differs from the one of this version.
    """
    from safetensors.torch import load

    path = files("avcil.encoders") / "weights" / f"{name}.safetensors"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise AvcilError(f"the weights {path} cannot be read: {error}. Install avcil again") from None
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise AvcilError(
            f"the weights {path} are damaged or of another version: their SHA-256 is not {SHA256[name]}. "
            "Install avcil again"
        )
    return load(content)
