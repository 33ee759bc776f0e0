"""Whether the built-in encoders are bit-identical with any number of threads, and on other types of CPUs.

    python benchmarks/encoder_arithmetic.py

Each row is one process that encodes the same synthetic clips. Other processors are simulated by restricting the
instructions that libraries use: oneDNN (ONEDNN_MAX_CPU_ISA), PyTorch's own kernels (ATEN_CPU_CAPABILITY), OpenBLAS
(OPENBLAS_CORETYPE) and NumPy (NPY_DISABLE_CPU_FEATURES). The figures are the largest difference from the first row,
over the standard deviation of the features; 0 means equal bits. The program fails if threads make a difference.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys

import numpy as np

THREADS = ("1", "2", "4")
PROCESSORS = {
    "AVX2": {
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "OPENBLAS_CORETYPE": "Haswell",
        "NPY_DISABLE_CPU_FEATURES": "AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR",
    },
    "SSE4.1": {
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "ATEN_CPU_CAPABILITY": "default",
        "OPENBLAS_CORETYPE": "Nehalem",
        "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR",
    },
}
VISUAL = ("patch-motion", "efficientnet-lite0")
AUDIO = ("log-mel", "yamnet")


def features() -> dict[str, np.ndarray]:
    """Features of each encoder for three clips of the same noise and waves on every machine."""
    import torch

    from avcil.encoders.registry import audio_encoder, visual_encoder

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    rng = np.random.RandomState(0)
    result = {}
    for name in VISUAL:
        encoder = visual_encoder(name)
        coarse = rng.randint(0, 256, (3, encoder.frames, 8, 8, 3))
        clips = list(np.kron(coarse, np.ones((1, 1, 20, 20, 1), int)).astype(np.uint8))
        result[name] = encoder.encode(clips)
    waveforms = [
        rng.standard_normal(length).cumsum().astype(np.float32) / 300 for length in (9000, 38_400, 160_000)
    ]
    for name in AUDIO:
        result[name] = audio_encoder(name).encode(waveforms)
    return result


def in_process(settings: dict[str, str]) -> dict[str, np.ndarray]:
    """The features computed by a process with these environment variables."""
    environment = {**os.environ, **settings}
    command = [sys.executable, __file__, "--write"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    with np.load(io.BytesIO(done.stdout)) as arrays:
        return dict(arrays)


def main() -> None:
    if "--write" in sys.argv:
        content = io.BytesIO()
        np.savez(content, **features())
        sys.stdout.buffer.write(content.getvalue())
        return
    names = (*VISUAL, *AUDIO)
    rows = {
        f"{count} threads": {"OMP_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count} for count in THREADS
    }
    rows |= {kind: {"OMP_NUM_THREADS": "1", **settings} for kind, settings in PROCESSORS.items()}
    print("| | " + " | ".join(names) + " |\n|---|" + "---:|" * len(names))
    reference: dict[str, np.ndarray] = {}
    same = True
    for row, settings in rows.items():
        result = in_process(settings)
        reference = reference or result
        differences = [np.abs(result[name] - reference[name]).max() / reference[name].std() for name in names]
        print(
            f"| {row} | " + " | ".join(f"{difference:.1g}" for difference in differences) + " |", flush=True
        )
        same &= "threads" not in row or not any(differences)
    sys.exit(not same)


if __name__ == "__main__":
    main()
