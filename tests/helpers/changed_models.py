"""Changes of saved models, as by an attacker or a damaged disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from avcil.inference import ClipFeatures, Recognizer

METHODS = {
    "av-cil": (),
    "afc": (),
    "blade": (),
    "slda": ("features=20",),
    "rls": ("features=20", "stream_features=10"),
}


def change(file: Path, at: str, value: Any, *, keep_checksums: bool = False) -> None:
    """Set `a.b.0` of a JSON file, and remove the checksums from config.json, as an attacker would."""
    for path in {file} if keep_checksums else {file, file.with_name("config.json")}:
        content = json.loads(path.read_text())
        if path == file:
            *parents, last = at.split(".")
            holder = content
            for name in parents:
                holder = holder[int(name) if name.isdigit() else name]
            holder[int(last) if last.isdigit() else last] = value
        if not keep_checksums and isinstance(content, dict):
            content = {name: entry for name, entry in content.items() if not name.startswith("checksum")}
        path.write_text(json.dumps(content))


def change_tensors(file: Path, make: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(file)
    make(tensors)
    file.unlink()
    save_file(tensors, file)
    change(file.with_name("config.json"), "changed", True)


def learn(folder: Path) -> None:
    recognizer = Recognizer.load(folder)
    draw = torch.Generator().manual_seed(0)
    clips = [
        ClipFeatures(
            audio=torch.randn(1, 10, generator=draw),
            visual=torch.randn(1, 2, 3, 12, generator=draw),
            clip_id=f"new{number}",
        )
        for number in range(2)
    ]
    recognizer.learn(clips, ["owl", "owl"])
