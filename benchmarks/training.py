"""One AV-CIL iteration: time and peak memory against a plain transcription of the paper's equations.

Three things take turns in one process, so that they share the machine's mood: `avcil`'s iteration (fused attention,
what the teacher said recalled), the plain one run the release's way (every map materialised, the teacher asked in
every iteration), and the floor: the two products with the tokens that no implementation can avoid, V U^T and its
gradient. Memory is measured in a process of its own for each. Prints a Markdown table of medians and ratios.

    python benchmarks/training.py [--new 16 --exemplars 8 --slices 8 --spatial 196 --width 768 --rounds 7]
"""

from __future__ import annotations

import argparse
import copy
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.methods.av_cil import AvCil, AvCilOptions
from avcil.methods.base import Batch, Step
from avcil.models.attention import guided_attention
from avcil.models.heads import LinearHead
from avcil.models.network import Network, NetworkOutput
from avcil.training.teacher import Teacher

CLASSES = 10


class Clips:
    """Made-up clips in memory, with what a training pool gives."""

    def __init__(self, a: argparse.Namespace) -> None:
        draw = torch.Generator().manual_seed(0)
        self.count, self.new = a.new + a.exemplars, a.new
        self.visual = torch.randn(self.count, a.slices, a.spatial, a.width, generator=draw)
        self.audio = torch.randn(self.count, a.width, generator=draw)
        new = torch.randint(CLASSES, 2 * CLASSES, (a.new,), generator=draw)
        self.labels = torch.cat([new, torch.randint(0, CLASSES, (a.exemplars,), generator=draw)])

    def __len__(self) -> int:
        return self.count

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        return self.audio[index], self.visual[index]


def make_step(a: argparse.Namespace, clips: Clips) -> Step:
    torch.manual_seed(0)
    head = LinearHead(a.width)
    head.grow(CLASSES)
    network = Network("audio-visual", audio_width=a.width, visual_width=a.width, head=head)
    teacher = Teacher(network, clips, new_count=clips.new)
    network.head.grow(CLASSES)
    sizes = (CLASSES, CLASSES)
    return Step(
        index=1, task_sizes=sizes, network=network, teacher=teacher, pool=clips, new_count=clips.new, seed=0
    )


def ours(a: argparse.Namespace, clips: Clips) -> Callable[[], float]:
    step, method = make_step(a, clips), AvCil(AvCilOptions(), modality="audio-visual")
    optimizer = torch.optim.Adam(step.network.parameters(), lr=1e-3, weight_decay=1e-4)
    rows = torch.arange(len(clips))
    batch = Batch(audio=clips.audio, visual=clips.visual, labels=clips.labels, rows=rows, new_count=clips.new)

    def iterate() -> float:
        output = method.forward(batch, step)
        loss = torch.stack(list(method.loss(output, batch, step).values())).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return iterate


def plain(a: argparse.Namespace, clips: Clips) -> Callable[[], float]:
    step = make_step(a, clips)
    network = step.network
    assert step.teacher is not None
    teacher = copy.deepcopy(step.teacher.network)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-4)

    def forward(net: Network) -> NetworkOutput:
        query, keys = (
            torch.tanh(net.audio_attention(clips.audio)),
            torch.tanh(net.visual_attention(clips.visual)),
        )
        attention = guided_attention(clips.visual, keys, query)
        audio, visual = (
            F.relu(net.audio_projection(clips.audio)),
            F.relu(net.visual_projection(attention.attended)),
        )
        return NetworkOutput(
            logits=net.head(audio + visual),
            feature=audio + visual,
            audio_feature=audio,
            visual_feature=visual,
            spatial_log=attention.spatial_log,
            temporal_log=attention.temporal_log,
        )

    def iterate() -> float:
        with torch.no_grad():
            old = forward(teacher)
        loss = plain_loss(forward(network), old, clips)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return iterate


def plain_loss(out: NetworkOutput, old: NetworkOutput, clips: Clips) -> Tensor:
    """AV-CIL's total at its second step, equation by equation."""
    n, new, tau, t = len(clips), clips.new, 0.05, 2.0
    ce = F.cross_entropy(out.logits[:new, CLASSES:], clips.labels[:new] - CLASSES, reduction="sum")
    ce = (ce + F.cross_entropy(out.logits[new:, :CLASSES], clips.labels[new:], reduction="sum")) / n
    target, guess = F.softmax(old.logits / t, 1), F.log_softmax(out.logits[:, :CLASSES] / t, 1)
    kd = t * t * (target * (target.log() - guess)).sum() / n
    similarity = F.normalize(out.audio_feature, dim=1) @ F.normalize(out.visual_feature, dim=1).T
    log = F.log_softmax(similarity / tau, 1)
    same = (clips.labels[:, None] == clips.labels[None]).float()
    instance, classes = -log.diag().mean(), -(same * log).sum() / n / n
    spatial = old.spatial_log[new:].exp() * (old.spatial_log - out.spatial_log)[new:]
    temporal = old.temporal_log[new:].exp() * (old.temporal_log - out.temporal_log)[new:]
    return ce + kd + 0.5 * instance + classes + 0.5 * (spatial.sum() + temporal.sum()) / (n - new)


def floor(a: argparse.Namespace, clips: Clips) -> Callable[[], float]:
    weight, flat = torch.randn(a.width, a.width), clips.visual.flatten(0, 2)
    out = torch.empty(len(flat), a.width)

    def iterate() -> float:
        torch.mm(flat, weight.T, out=out)
        return float((out.T @ flat)[0, 0])

    return iterate


KINDS = {"avcil": ours, "plain": plain, "floor": floor}


def peak_above_input(a: argparse.Namespace, kind: str) -> None:
    clips = Clips(a)
    iterate = KINDS[kind](a, clips)
    before = _status("VmRSS")
    for _ in range(3):
        iterate()
    print(_status("VmHWM") - before)


def _status(name: str) -> float:
    """MiB of a line of this process's status; a child's ru_maxrss would start from its parent's."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (
        ("new", 16),
        ("exemplars", 8),
        ("slices", 8),
        ("spatial", 196),
        ("width", 768),
        ("rounds", 7),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--peak", choices=KINDS, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.peak:
        peak_above_input(a, a.peak)
    else:
        compare(a)


def compare(a: argparse.Namespace) -> None:
    clips = Clips(a)
    work = {name: make(a, clips) for name, make in KINDS.items()}
    first = {name: iterate() for name, iterate in work.items()}
    assert abs(first["avcil"] / first["plain"] - 1) < 1e-4, f"the two losses differ: {first}"
    seconds: dict[str, list[float]] = {name: [] for name in KINDS}
    for _ in range(a.rounds):
        for name, iterate in work.items():
            began = time.perf_counter()
            iterate()
            seconds[name].append(time.perf_counter() - began)
    base = [
        sys.executable,
        __file__,
        *(
            w
            for n in ("new", "exemplars", "slices", "spatial", "width")
            for w in (f"--{n}", str(getattr(a, n)))
        ),
    ]
    memory = {name: float(subprocess.check_output([*base, "--peak", name])) for name in KINDS}
    shape = f"{a.slices} x {a.spatial} x {a.width}"
    print(f"{a.new} + {a.exemplars} clips of {shape}, float32, {torch.get_num_threads()} threads\n")
    print("| | ms, median | over the floor | MiB above the input |\n| --- | ---: | ---: | ---: |")
    for name in KINDS:
        ratio = median(x / y for x, y in zip(seconds[name], seconds["floor"], strict=True))
        print(f"| {name} | {1e3 * median(seconds[name]):.0f} | {ratio:.2f} | {memory[name]:.0f} |")
    gain = median(x / y for x, y in zip(seconds["plain"], seconds["avcil"], strict=True))
    print(f"\nplain / avcil: {gain:.2f} (median of ratios, round by round)")


if __name__ == "__main__":
    main()
