"""The networks in the package in PyTorch and in ONNX Runtime: milliseconds of CPU time with one thread.

    python benchmarks/network_speed.py

The smallest of 25 runs each, with the same weights, in turns within one process. Needs `pip install 'avcil[export]'`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from encoder_references import Graph, packaged_network

from avcil.encoders.efficientnet_lite import EfficientNetLite0
from avcil.encoders.packaged_weights import packaged_weights
from avcil.encoders.yamnet import STRIDES, Yamnet

RUNS = 25
FRAMES, PATCHES = 4, 16
"""Clips per batch."""


def fastest(work: Callable[[], object]) -> float:
    """Minimum milliseconds of CPU time, without the first three runs."""
    seconds = []
    for _ in range(3 + RUNS):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return 1000 * min(seconds[3:])


def yamnet_graph() -> Graph:
    """The convolutions of the package."""
    graph, weights = Graph(), packaged_weights("yamnet")
    for number, stride in enumerate(STRIDES):
        scale = weights[f"layers.{number}.scale"][:, None, None, None]
        weight = (weights[f"layers.{number}.weight"].float() * scale).numpy()
        bias = weights[f"layers.{number}.bias"].numpy()
        graph.convolve(weight, bias, stride=stride, depthwise=number % 2 == 1)
        graph.relu6()
    return graph


def compare(name: str, graph: Graph, model: torch.nn.Module, shape: tuple[int, ...]) -> None:
    """A line of the table."""
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        graph.model(x).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    given = torch.from_numpy(x).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        theirs, ours = fastest(lambda: session.run(None, {"x": x})), fastest(lambda: model(given))
    print(f"| {name} | {theirs / len(x):.1f} | {ours / len(x):.1f} | {ours / theirs:.2f} |", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    print("| | onnxruntime | PyTorch | ratio |\n|---|---:|---:|---:|")
    compare(
        "a patch of yamnet", yamnet_graph(), Yamnet(width=1024, device="cpu")._model, (PATCHES, 1, 96, 64)
    )
    weights = {name: tensor.numpy() for name, tensor in packaged_weights("efficientnet_lite0").items()}
    for side in (224, 160, 128):
        model = EfficientNetLite0(width=1280, pixels=side, device="cpu")._model
        shape = (FRAMES, 3, side, side)
        compare(f"a frame of efficientnet-lite0 at {side}", packaged_network(weights), model, shape)


if __name__ == "__main__":
    main()
