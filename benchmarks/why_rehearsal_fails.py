"""Whether the errors of a rehearsal method come from its features or from its classifier.

For every step of finished runs with exemplars, the test accuracy over all classes seen of the same network under three
classifiers: its own head; the nearest mean of its own exemplars; and its head with the true step of each clip, which
leaves only confusions within a step. Prints a Markdown table with means over the runs.

    python benchmarks/why_rehearsal_fails.py FEATURES RUN [RUN ...]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from avcil.features import FeatureStore
from avcil.nn.network import Network
from avcil.runs.run_files import read_run
from avcil.saved_models.folder import load_model
from avcil.streams.registry import parse_stream
from avcil.training.device_config import DeviceConfig
from avcil.training.task_data import TaskData
from avcil.utils.files import read_json
from avcil.utils.tensor_files import load_tensors


def outputs(
    network: Network, data: TaskData, rows: list[int]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits (n, K), unit features (n, D) and class numbers (n,) of store rows."""
    table = data.table(rows)
    with torch.no_grad():
        parts = [network(audio, visual) for _, (audio, visual) in table.all()]
    logits = torch.cat([part.logits for part in parts])
    return logits, F.normalize(torch.cat([part.feature for part in parts]), dim=1), table.labels


def three_accuracies(run: Path, store: FeatureStore) -> np.ndarray:
    """(steps, 3): head, nearest exemplar mean, head with the given step."""
    record = read_run(run)
    benchmark = record.config.benchmark
    stream = parse_stream("class-incremental").build(store.clips, benchmark, seed=0)
    data = TaskData(store, stream, modality=record.modality, device_config=DeviceConfig.of("cpu", "float32"))
    final, _, _ = load_model(run / "model")
    sizes = [len(step) for step in benchmark.steps]
    step_of_class = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    rows = []
    for index in range(len(sizes)):
        folder = run / "checkpoints" / f"step_{index}"
        state, known = read_json(folder / "state.json"), sum(sizes[: index + 1])
        config = final.to_config()
        config["head"] = {**config["head"], "classes": known}
        network = Network.from_config(config, load_tensors(folder / "model.safetensors")).eval()
        test = [row for task in range(index + 1) for row in data.rows("test", task)]
        logits, features, labels = outputs(network, data, test)
        ids = [state["exemplars"][label] for label in benchmark.classes[:known]]
        means = torch.stack([outputs(network, data, data.rows_of_ids(i))[1].mean(dim=0) for i in ids])
        told = logits.masked_fill(step_of_class[None, :known] != step_of_class[labels][:, None], -torch.inf)
        scores = (logits, -torch.cdist(features, means), told)
        rows.append([float((score.argmax(dim=1) == labels).double().mean()) for score in scores])
    return np.array(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("features", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    arguments = parser.parse_args()
    store = FeatureStore(arguments.features)
    mean = 100 * np.mean([three_accuracies(run, store) for run in arguments.runs], axis=0)
    print("| step | own head | nearest exemplar mean | head, step told |\n| ---: | ---: | ---: | ---: |")
    for index, row in enumerate(mean, start=1):
        print(f"| {index} | " + " | ".join(f"{value:.1f}" for value in row) + " |")
    print("| average | " + " | ".join(f"{value:.1f}" for value in mean.mean(axis=0)) + " |")


if __name__ == "__main__":
    main()
