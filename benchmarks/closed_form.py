"""Cost of closed-form methods at the size of VS100-CI: seconds per step, stored bytes, peak memory.

    python benchmarks/closed_form.py [--threads 2] [--methods blade ranpac:features=10000 ...]

100 classes in 10 steps of 10, 495 training clips each (49,500), vectors as wide as AudioMAE and VideoMAE make them:
audio 768, two visual tokens of 768, of which each method uses the mean, or mean and deviation. The clips are synthetic:
class means in few directions, and noise in all. Accuracies only show that the methods learn. Each method runs in a
separate process. Seconds are of `observe` and `solve`, from pooled tokens to the model, with every penalty chosen; the
peak is above the process with a step's clips in it, before training.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time

import torch

from avcil.methods.registry import load_method, parse_options

WIDTH, DIRECTIONS, BATCH, TEST = 768, 40, 256, 10
METHODS = (
    "blade",
    "slda:kernel=linear",
    "slda:features=2000",
    "ranpac:features=2000",
    "ranpac:features=10000",
    "rls:features=2000",
    "rls:features=10000",
)


def clips_of(labels: torch.Tensor, seed: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Audio (n, 768) and visual (n, 1, 2, 768) of clips, labels (n,)."""
    fixed = torch.Generator().manual_seed(0)
    basis = torch.randn(3, DIRECTIONS, WIDTH, generator=fixed) / DIRECTIONS**0.5
    means = torch.einsum("pcd,pdw->pcw", torch.randn(3, classes, DIRECTIONS, generator=fixed), basis)
    draw = torch.Generator().manual_seed(seed)
    own = torch.einsum("pcd,pdw->pcw", 3 * torch.randn(3, len(labels), DIRECTIONS, generator=draw), basis)
    parts = means[:, labels] + own + torch.randn(3, len(labels), WIDTH, generator=draw)
    return parts[0], parts[1:].transpose(0, 1)[:, None].contiguous()


def peak() -> float:
    """Peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def measure(entry: str, options: argparse.Namespace) -> None:
    """Train one method on all steps, and print its row."""
    torch.set_num_threads(options.threads)
    name, _, words = entry.partition(":")
    kind = load_method(name)
    method = kind(parse_options(kind, words.split(",") if words else [], name=name), modality="audio-visual")
    classes = options.steps * options.classes
    seconds, before = [], 0.0
    for step in range(options.steps):
        labels = torch.arange(step * options.classes, (step + 1) * options.classes)
        labels = labels.repeat_interleave(options.clips)
        audio, visual = clips_of(labels, step + 1, classes)
        before = before or peak()
        start = time.perf_counter()
        method.add_classes(options.classes)
        for rows in torch.arange(len(labels)).split(BATCH):
            method.observe(audio[rows], visual[rows], labels[rows])
        model = method.solve()
        seconds.append(time.perf_counter() - start)
    highest = peak() - before
    test_rows = torch.arange(classes).repeat_interleave(TEST)
    predicted = model.scores(*clips_of(test_rows, 0, classes)).argmax(dim=1)
    accuracy = 100 * float((predicted == test_rows).double().mean())
    kept = method.report()["bytes"] / 1e6
    print(
        f"| `{entry}` | {sum(seconds):.1f} | {seconds[0]:.2f} | {max(seconds):.2f} | {seconds[-1]:.2f} "
        f"| {kept:.1f} | {highest:.0f} | {accuracy:.1f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--classes", type=int, default=10, help="of each step")
    parser.add_argument("--clips", type=int, default=495, help="of each class")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    print(
        f"{options.steps} steps x {options.classes} classes x {options.clips} clips, "
        f"{options.threads} thread(s), torch {torch.__version__}\n"
    )
    print(
        "| method | all steps, s | first | longest | last | stored, MB | peak above the clips, MB | accuracy, % |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    context = multiprocessing.get_context("spawn")
    for entry in options.methods:
        process = context.Process(target=measure, args=(entry, options))
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(f"{entry} ended with {process.exitcode}")


if __name__ == "__main__":
    main()
