"""The parts of gpu.sh. Rows are printed immediately, so that a stopped part keeps those that are done.

    python benchmarks/gpu_parts.py PART [--device cpu] [--tiny]

B clips, T time slices, S spatial tokens, D width.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from gpu import ROW

CHECKED = ("keys", "sums", "gradients")
RUNS = {
    "ave-ci": {"steps": 4, "classes": 28, "memory": 340, "train": 3294, "epochs": 10, "shrink": 1},
    "ks-ci": {"steps": 5, "classes": 30, "memory": 500, "train": 19220, "epochs": 3, "shrink": 2},
    "vs100-ci": {"steps": 10, "classes": 100, "memory": 1500, "train": 51195, "epochs": 2, "shrink": 4},
}
"""Shapes of the benchmarks, with numbers of epochs and divisors of the numbers of clips that fit the time limit."""


def row(what: str, value: str) -> None:
    """Send a row to gpu.py."""
    print(ROW + json.dumps([what, value]), flush=True)


def shape(a: argparse.Namespace) -> argparse.Namespace:
    """The sizes of an iteration: those of the paper's features, or small ones."""
    sizes = (8, 4, 2, 9, 32) if a.tiny else (256, 128, 8, 196, 768)
    names = ("new", "exemplars", "slices", "spatial", "width")
    return argparse.Namespace(**dict(zip(names, sizes, strict=True)))


def synchronize(a: argparse.Namespace) -> None:
    if a.device == "cuda":
        torch.cuda.synchronize()


def milliseconds(a: argparse.Namespace, work: Callable[[], object], rounds: int = 10) -> float:
    """Median of `rounds`, after three for warm-up."""
    times = []
    for _ in range(3 + (2 if a.tiny else rounds)):
        synchronize(a)
        start = time.perf_counter()
        work()
        synchronize(a)
        times.append(1e3 * (time.perf_counter() - start))
    return median(times[3:])


# -- the kernel ------------------------------------------------------------------------------------------------------


def kernel(a: argparse.Namespace) -> None:
    """The kernel for this device, compared with PyTorch's operators in float64 on the same device."""
    from avcil.nn.kernels import operators
    from avcil.nn.kernels.choice import choose

    for dtype in (torch.float32, torch.bfloat16):
        inputs = _kernel_inputs(a, dtype)
        chosen = choose(inputs["tokens"], torch.float32)
        name = f"{chosen.__name__.rsplit('.', 1)[-1]}, {str(dtype).removeprefix('torch.')}"
        result = _kernel_results(chosen, inputs)
        exact = {key: None if value is None else value.double() for key, value in inputs.items()}
        wanted = _kernel_results(operators, exact)
        for what in CHECKED:
            pairs = zip(result[what], wanted[what], strict=True)
            worst = max(
                float((x.double() - y).abs().max() / y.abs().max().clamp_min(1e-30)) for x, y in pairs
            )
            row(f"{name}: {what}, largest difference from float64 / largest value", f"{worst:.1e}")
        row(
            f"{name}: forward and backward",
            f"{milliseconds(a, lambda i=inputs, k=chosen: _kernel_results(k, i)):.2f} ms",
        )
        if chosen is operators:
            continue
        plain = milliseconds(a, lambda i=inputs: _kernel_results(operators, i))
        row(f"operators, {str(dtype).removeprefix('torch.')}: forward and backward", f"{plain:.2f} ms")


def _kernel_inputs(a: argparse.Namespace, dtype: torch.dtype) -> dict[str, Any]:
    """A block of clips, the last ones with old maps; keys and tokens in `dtype`, the others in float32."""
    clips, slices, spatial, width, old = (3, 2, 9, 32, 1) if a.tiny else (32, 8, 196, 768, 8)
    draw = torch.Generator(a.device).manual_seed(0)

    def normal(*sizes: int) -> torch.Tensor:
        return torch.randn(*sizes, generator=draw, device=a.device)

    tokens = (clips, slices, spatial, width)
    return {
        "projected": normal(*tokens).to(dtype),
        "tokens": normal(*tokens).to(dtype),
        "bias": normal(width),
        "query": normal(clips, width).tanh(),
        "log": normal(old, *tokens[1:]).log_softmax(dim=2),
        "attended": normal(clips, slices, width),
        "summary": normal(clips, slices, width),
        "shared": normal(clips, slices, width),
        "divergence": normal(old),
    }


def _kernel_results(module: Any, given: dict[str, Any]) -> dict[str, list[torch.Tensor]]:
    from avcil.nn.kernels.interface import SumGradients

    keys, out = given["projected"].clone(), torch.empty_like(given["projected"])
    sums = module.forward(keys, given["tokens"], given["bias"], given["query"], given["log"])
    gradients = SumGradients(*(given[name] for name in ("attended", "summary", "shared", "divergence")))
    gradients = module.backward(
        keys, given["tokens"], given["query"], sums.total, gradients, given["log"], out
    )
    return {
        "keys": [keys],
        "sums": [part for part in sums if part is not None],
        "gradients": [*gradients, out],
    }


# -- training --------------------------------------------------------------------------------------------------------


def _ways(a: argparse.Namespace) -> dict[str, Callable[[], object]]:
    """An iteration by name of implementation and dtype."""
    from iterations import WAYS, Clips

    sizes = shape(a)
    kinds = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    made = {name: Clips(sizes, device=a.device, dtype=dtype) for name, dtype in kinds.items()}
    ways: dict[str, Callable[[], object]] = {
        "avcil, bfloat16": WAYS["avcil"](sizes, made["bfloat16"]),
        "avcil, float32": WAYS["avcil"](sizes, made["float32"]),
        "plain equations, float32": WAYS["plain"](sizes, made["float32"]),
    }
    plain = WAYS["plain"](sizes, made["float32"])

    def autocast() -> object:
        with torch.autocast(a.device, torch.bfloat16):
            return plain()

    ways["plain equations, bfloat16 (autocast)"] = autocast
    ways["the two products that cannot be avoided, bfloat16"] = WAYS["floor"](sizes, made["bfloat16"])
    return ways


def iteration(a: argparse.Namespace) -> None:
    """An AV-CIL iteration, all data on the device."""
    for name, iterate in _ways(a).items():
        row(f"AV-CIL iteration, {name}", f"{milliseconds(a, iterate):.2f} ms")


def epoch(a: argparse.Namespace) -> None:
    """An epoch of the second step of a run with the shape of AVE-CI, and as many iterations of the plain equations."""
    from iterations import WAYS, Clips

    for precision in ("float32", "bfloat16"):
        seconds, iterations = _epoch_seconds(a, precision)
        row(f"epoch of {iterations} iterations and a validation, avcil, {precision}", f"{seconds:.2f} s")
    plain = WAYS["plain"](shape(a), Clips(shape(a), device=a.device))
    for name, enabled in (("float32", False), ("bfloat16 (autocast)", True)):
        with torch.autocast(a.device, torch.bfloat16, enabled=enabled):
            each = milliseconds(a, plain, rounds=5)
        row(f"{iterations} iterations, plain equations, {name}", f"{iterations * each / 1e3:.2f} s")


def _epoch_seconds(a: argparse.Namespace, precision: str) -> tuple[float, int]:
    """Median seconds of an epoch after the first, and its number of iterations."""
    sizes = shape(a)
    clips = 12 * sizes.new
    counts = {"train": clips, "val": sizes.new, "test": 2 * sizes.new}
    from avcil.runs.records import Epoch

    with tempfile.TemporaryDirectory() as folder:
        run = _synthetic_run(
            a, Path(folder), classes=4, steps=2, memory=4, counts=counts, epochs=4, precision=precision
        )
        ended: list[float] = []  # times at which epochs of the second step ended
        log = run.directory.log

        def timed(line: Epoch) -> None:
            if line.step == 1:
                synchronize(a)
                ended.append(time.perf_counter())
            log(line)

        run.directory.log = timed
        run.finish()
    return median(np.diff(ended)), clips // 2 // sizes.new


def _synthetic_run(
    a: argparse.Namespace,
    folder: Path,
    *,
    classes: int,
    steps: int,
    memory: int,
    counts: dict[str, int],
    epochs: int,
    precision: str | None = None,
) -> Any:
    from synthetic_store import SyntheticStore

    from avcil.training.config import TrainConfig
    from avcil.training.run import Run

    sizes = shape(a)
    store = SyntheticStore(classes=classes, counts=counts, grid=(sizes.slices, sizes.spatial, sizes.width))
    options: dict[str, Any] = {} if precision is None else {"precision": precision}
    config = TrainConfig(
        features=Path("synthetic"),
        out=folder / "run",
        method="av-cil",
        classes_per_step=classes // steps,
        exemplars=memory,
        epochs=epochs,
        batch_size=sizes.new,
        exemplar_batch_size=sizes.exemplars,
        device=a.device,
        **options,
    )
    return Run(config, store=store, quiet=True)  # type: ignore[arg-type]


def whole_run(a: argparse.Namespace, name: str) -> None:
    """A run of benchmark shape with the loop of `avcil train`: steps, teacher, exemplars, validation, tests."""
    s = RUNS[name]
    train = max(4 * s["classes"], s["train"] // (200 if a.tiny else s["shrink"]))
    counts = {
        "train": train,
        "val": max(4 * s["classes"], train // 8),
        "test": max(4 * s["classes"], train // 8),
    }
    epochs = 1 if a.tiny else s["epochs"]
    with tempfile.TemporaryDirectory() as folder:
        run = _synthetic_run(
            a,
            Path(folder),
            classes=s["classes"],
            steps=s["steps"],
            memory=s["memory"],
            counts=counts,
            epochs=epochs,
        )
        synchronize(a)
        start = time.perf_counter()
        run.finish()
        synchronize(a)
        seconds = time.perf_counter() - start
    held = f", {torch.cuda.max_memory_allocated() / 1e9:.1f} GB at most" if a.device == "cuda" else ""
    what = f"{s['steps']} steps x {epochs} epochs, {train} of {s['train']} training clips"
    row(f"{name}-shaped run, {what}", f"{seconds:.1f} s{held}")
    row(f"{name}-shaped run, for each step and epoch", f"{seconds / s['steps'] / epochs:.2f} s")


# -- extraction ------------------------------------------------------------------------------------------------------


def extraction(a: argparse.Namespace) -> None:
    """Encoders on decoded clips in memory, so that neither PyAV nor a disk is measured."""
    failures = []
    for name, make in _encoders(a).items():
        try:
            encoder = make()
            encoder.to(a.device)
            clips = _decoded(a, encoder)
            each = milliseconds(a, lambda e=encoder, c=clips: e.encode(c), rounds=3) / len(clips)
            row(f"{name}, {encoder.precision}, {len(clips)} decoded clips", f"{1e3 / each:.1f} clips/s")
        except Exception as error:  # the next encoder is tried all the same; the part fails in the end
            failures.append(name)
            row(f"{name}: FAILED", f"{type(error).__name__}: {' '.join(str(error).split())[:160]}")
    if failures:
        sys.exit(f"not measured: {', '.join(failures)}")


def _encoders(a: argparse.Namespace) -> dict[str, Callable[[], Any]]:
    from avcil.encoders.registry import audio_encoder, visual_encoder

    new = {
        "efficientnet-lite0": lambda: visual_encoder("efficientnet-lite0"),
        "yamnet": lambda: audio_encoder("yamnet"),
    }
    if a.tiny:
        return new
    folder = Path(tempfile.mkdtemp())
    return new | {
        "audiomae (random weights)": lambda: _random_audiomae(folder),
        "videomae-base (random weights)": lambda: _random_videomae(folder),
    }


def _random_audiomae(folder: Path) -> Any:
    from full_size import audio_weights
    from safetensors.torch import save_file

    from avcil.encoders.registry import audio_encoder

    save_file(audio_weights(), folder / "audiomae.safetensors")
    return audio_encoder(f"audiomae:{folder / 'audiomae.safetensors'}")


def _random_videomae(folder: Path) -> Any:
    from full_size import encoders

    return encoders(folder)[0]


def _decoded(a: argparse.Namespace, encoder: Any) -> list[np.ndarray]:
    """Synthetic clips in the form of decoded ones: frames of 4:3, or 10 s of audio."""
    count = 2 if a.tiny else 64
    rng = np.random.default_rng(0)
    if hasattr(encoder, "sample_rate"):
        return list(rng.uniform(-0.3, 0.3, (count, 10 * encoder.sample_rate)).astype(np.float32))
    side = encoder.short_side or 256
    return list(rng.integers(0, 256, (count, encoder.frames, side, side * 4 // 3, 3), dtype=np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["kernel", "iteration", "epoch", "extraction", *RUNS])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true")
    a = parser.parse_args()
    if a.part in RUNS:
        whole_run(a, a.part)
    else:
        {"kernel": kernel, "iteration": iteration, "epoch": epoch, "extraction": extraction}[a.part](a)


if __name__ == "__main__":
    main()
