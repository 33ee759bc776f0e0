"""Whether encoders encode: those of the package, and small random models of transformers."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from avcil.doctor.finding import CheckResult, not_installed
from avcil.doctor.trial_clip import RATE, trial_frames, trial_sound

BUILT_IN = (
    ("visual", "patch-motion"),
    ("visual", "efficientnet-lite0"),
    ("audio", "log-mel"),
    ("audio", "yamnet"),
)
TINY = {
    "hidden_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "patch_size": 16,
}
FAMILIES = {
    "visual": ("VideoMAEModel", "VideoMAEConfig", {"image_size": 32, "num_frames": 4}),
    "audio": ("ASTModel", "ASTConfig", {"num_mel_bins": 128, "max_length": 128}),
}


def built_in_encoders() -> Iterator[CheckResult]:
    """Those that come with the package, on a clip."""
    for kind, name in BUILT_IN:
        yield _tried(kind, name, what=name, core=True)


def transformers_encoders() -> Iterator[CheckResult]:
    """A VideoMAE and an AST of random weights, saved and taken as users take theirs."""
    if find_spec("transformers") is None:
        yield not_installed("transformers", "no VideoMAE, no hf:MODEL", "encoders")
        return
    for kind, (model, config, options) in FAMILIES.items():
        with tempfile.TemporaryDirectory() as folder:
            _save_tiny(Path(folder), model, config, options)
            yield _tried(kind, f"hf:{folder}", what=f"transformers {model}", core=False)


def _save_tiny(folder: Path, model: str, config: str, options: dict[str, Any]) -> None:
    import torch
    import transformers

    torch.manual_seed(0)
    transformers.utils.logging.disable_progress_bar()
    getattr(transformers, model)(getattr(transformers, config)(**TINY, **options)).save_pretrained(folder)


def _tried(kind: str, name: str, *, what: str, core: bool) -> CheckResult:
    """Encode the trial clip twice: finite numbers, the same both times, not all alike."""
    from avcil.encoders.registry import audio_encoder, visual_encoder

    encoder: Any = (visual_encoder if kind == "visual" else audio_encoder)(name)
    if kind == "visual":
        frames = trial_frames()
        clip = frames[np.arange(encoder.frames) * len(frames) // encoder.frames]
    else:
        clip = trial_sound().repeat(max(1, encoder.sample_rate // RATE))
    began = time.perf_counter()
    first = encoder.encode([clip])
    took = time.perf_counter() - began
    fine = np.isfinite(first).all() and first.std() > 0 and np.array_equal(first, encoder.encode([clip]))
    device = getattr(encoder, "device", "cpu")
    figure = f"{'x'.join(map(str, first.shape[1:]))} numbers a clip in {1000 * took:.0f} ms on {device}"
    return CheckResult(
        status="ok" if fine else "broken",
        what=what,
        figure=figure if fine else f"{figure}; they are not finite, all alike, or differ from call to call",
        advice=""
        if fine
        else "pip install --force-reinstall numpy torch, of the versions in constraints.txt",
        core=core,
    )
