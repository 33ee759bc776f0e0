"""How attention drifts as classes are added, with and without VAD: trains AV-CIL both ways, measures, and draws.

    python docs/theme/attention_drift.py runs/demo/features --out runs/drift

Writes docs/diagrams/drift.svg (a chart) and docs/pictures/drift.jpg (a clip of the first step, the attention on it
after that step, and after the last one with and without VAD), and prints the measurements. Runs are kept and resumed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).parent))

from drawing import Drawing
from save_picture import save

from avcil.data.clips import Clip
from avcil.features import FeatureStore, StoredClip
from avcil.inference import Recognizer
from avcil.inference.network_attention import network_attention
from avcil.losses import attention_divergence
from avcil.media.attention_footer import BACKGROUND, TEXT_COLOR, scale_strip
from avcil.media.attention_overlay import AttentionScale, draw_attention
from avcil.media.overlay import enlarged
from avcil.nn.head import LinearHead
from avcil.nn.network import Network
from avcil.runs.run_directory import RunDirectory
from avcil.runs.run_files import RunRecord, read_run
from avcil.training.config import TrainConfig
from avcil.training.run import train

DOCS = Path(__file__).parents[1]
WAYS = {"with VAD": (), "without VAD": ("vad_spatial=false", "vad_temporal=false")}
SIDE = 192
"""Pixels of the short side of a frame in the picture."""
SEEDS = (0, 1, 2)
COMMON = {"method": "av-cil", "classes_per_step": 4, "exemplars_per_class": 4, "epochs": 40, "batch_size": 32}


def main() -> None:
    """Train, measure, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("features", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    store = FeatureStore(arguments.features)
    runs = {way: trained(arguments.features, arguments.out, way) for way in WAYS}
    drifts = {}
    for way, records in runs.items():
        found = np.mean([drift(store, record) for record in records], axis=0)  # (2, steps)
        drifts[way] = found.tolist()
        last = [f"{100 * record.results.last_accuracy:.1f}" for record in records]
        spatial, temporal = (" ".join(f"{1000 * nats:.3f}" for nats in kind) for kind in found)
        print(f"{way}: spatial {spatial}, temporal {temporal} thousandths of a nat; last accuracy {last} %")
    (DOCS / "diagrams" / "drift.svg").write_text(chart(drifts).svg(), encoding="utf-8")
    save(picture(store, {way: records[0] for way, records in runs.items()}), "drift.jpg")


def trained(features: Path, out: Path, way: str) -> list[RunRecord]:
    """A finished run for each seed."""
    records = []
    for seed in SEEDS:
        folder = out / f"{way.replace(' ', '-')}-{seed}"
        options = ("lambda_instance=0.1", *WAYS[way])
        shared = {"features": features, "out": folder, "seed": seed, "set": options}
        train(TrainConfig(**shared, exemplar_batch_size=32, **COMMON), quiet=True)
        records.append(read_run(folder))
    return records


def network_after(store: FeatureStore, record: RunRecord, step: int) -> Network:
    """The network as it was when a step of the run had ended."""
    assert store.visual_shape is not None
    width = store.visual_shape[2]
    tensors = RunDirectory(record.folder).step_tensors(step)
    head = LinearHead(width)
    head.add_classes(len(tensors["head.bias"]))
    network = Network("audio-visual", audio_width=store.audio_width or 0, visual_width=width, head=head)
    network.load_state_dict(tensors)
    return network.eval()


def first_step_tests(store: FeatureStore, record: RunRecord) -> list[int]:
    """Rows of the test clips of the classes that came first."""
    first = record.steps[0]
    return [row for row, clip in enumerate(store.clips) if clip.split == "test" and clip.label in first]


def _inputs(store: FeatureStore, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Audio (n, Da) and visual (n, T, S, Dv), float32."""
    return (
        torch.from_numpy(store.audio(rows).astype(np.float32)),
        torch.from_numpy(store.visual(rows).astype(np.float32)),
    )


@torch.inference_mode()
def drift(store: FeatureStore, record: RunRecord) -> tuple[list[float], list[float]]:
    """After each step, spatial and temporal: mean KL, in nats a map, of the attention to the test clips of the first
    step's classes, from the attention that the first step ended with."""
    audio, visual = _inputs(store, first_step_tests(store, record))
    maps = [network_after(store, record, step)(audio, visual, maps=True) for step in range(len(record.steps))]
    _, slices, _, channels = visual.shape

    def nats(name: str, count: int) -> list[float]:
        first = getattr(maps[0], name)
        return [float(attention_divergence(getattr(now, name), first)) / count for now in maps]

    return nats("spatial_log", slices * channels), nats("temporal_log", channels)


def chart(drifts: dict[str, tuple[list[float], list[float]]]) -> Drawing:
    """Bars of the drift after each step."""
    sheet = Drawing("drift", "Change of attention maps of the first classes, with and without VAD", 304)
    for half, name in enumerate(("spatial", "temporal")):
        left, top, height = 8 + 212 * half, 34, 180
        sheet.text(left + 98, 12, name, bold=True)
        largest = max(max(pair[half]) for pair in drifts.values())
        sheet.line(left, top + height, left + 196, top + height)
        steps = len(next(iter(drifts.values()))[half])
        for step in range(1, steps):
            middle = left + 196 * (step - 0.5) / (steps - 1)
            sheet.text(middle, top + height + 16, f"step {step + 1}", size=12)
            for number, (way, color) in enumerate((("without VAD", "sound"), ("with VAD", "picture"))):
                value = drifts[way][half][step]
                tall = (height - 20) * value / largest
                x = middle - 26 + 27 * number
                sheet.box(x, top + height - tall, 24, tall, color=color, fill=color, round_=1, opacity=0.75)
                shown = f"{1000 * value:.2g}" if 1000 * value < 10 else f"{1000 * value:.0f}"
                sheet.text(x + 12, top + height - tall - 9, shown, size=11)
    for number, (way, color) in enumerate((("without VAD", "sound"), ("with VAD", "picture"))):
        sheet.box(78 + 150 * number, 250, 14, 14, color=color, fill=color, round_=1, opacity=0.75)
        sheet.text(98 + 150 * number, 257, way, size=13, anchor="start")
    sheet.text(210, 286, "KL to the maps after step 1, thousandths of a nat per map", size=13, color="soft")
    return sheet


def picture(store: FeatureStore, runs: dict[str, RunRecord]) -> np.ndarray:
    """Rows of frames: the clip, the attention after its step, and after the last step with and without VAD."""
    record = runs["with VAD"]
    last = len(record.steps) - 1
    clips = first_step_tests(store, record)
    row = max(clips, key=lambda row: _moved(store, runs["without VAD"], row, last))
    reader = Recognizer.load(record.folder).reader
    frames = _middle_frames(reader.features(_clip(store.clips[row])).read.frames, store.visual_shape[0])
    frames = [enlarged(frame, SIDE) for frame in frames]
    audio, visual = _inputs(store, [row])
    networks = {
        "after step 1": network_after(store, record, 0),
        f"after step {last + 1}, with VAD": network_after(store, record, last),
        f"after step {last + 1}, without VAD": network_after(store, runs["without VAD"], last),
    }
    grid = reader.encoders.visual.spatial_grid
    maps = {
        name: network_attention(network, audio, visual)[0].reshape(-1, *grid)
        for name, network in networks.items()
    }
    scale = AttentionScale.of(np.concatenate(list(maps.values())))
    strips = [labeled("the clip", frames)]
    strips += [labeled(name, draw_attention(frames, each, scale)[0]) for name, each in maps.items()]
    print(f"the picture shows {store.clips[row].clip_id}")
    return np.concatenate([*strips, scale_strip(strips[0].shape[1], scale)])


def labeled(text: str, frames: Sequence[np.ndarray]) -> np.ndarray:
    """Frames (H, W, 3) side by side, with a line of text in a corner."""
    image = Image.fromarray(np.concatenate(list(frames), axis=1))
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(15)
    left, top, right, bottom = draw.textbbox((9, 6), text, font=font)
    draw.rectangle((left - 6, top - 4, right + 6, bottom + 4), fill=BACKGROUND)
    draw.text((9, 6), text, fill=TEXT_COLOR, font=font)
    return np.asarray(image)


def _moved(store: FeatureStore, record: RunRecord, row: int, last: int) -> float:
    """How much the map drawn of a clip changed from the first step to the last."""
    audio, visual = _inputs(store, [row])
    first, now = (network_attention(network_after(store, record, s), audio, visual)[0] for s in (0, last))
    return float(np.abs(first - now).sum())


def _clip(stored: StoredClip) -> Clip:
    return Clip(
        clip_id=stored.clip_id, path=Path(stored.path), label=stored.label, split=stored.split,
        start=stored.start, end=stored.end,
    )  # fmt: skip


def _middle_frames(frames: np.ndarray, slices: int) -> list[np.ndarray]:
    return [frames[(2 * t + 1) * len(frames) // (2 * slices)] for t in range(slices)]


if __name__ == "__main__":
    main()
