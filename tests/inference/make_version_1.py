"""Makes the models of `version_1/`: run it with an avcil that writes format version 1 (commit 81947bb and before).

    PYTHONPATH=OLD/src python tests/inference/make_version_1.py tests/inference/version_1

Each folder holds the model and `expected.json`: its predictions for synthetic clips. To add a version, run the same
script with the last avcil that writes it, into a folder of its name.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch

from avcil.saved_models.folder import load_model
from avcil.training.config import TrainConfig
from avcil.training.run import train

CASES = {"av-cil": (), "icarl": (), "blade": (), "ranpac": ("features=30",)}


def main(out: Path) -> None:
    """Train each method on the store of the tests, and save its model and scores."""
    spec = importlib.util.spec_from_file_location("shared", Path(__file__).parents[1] / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    shared = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shared)
    with tempfile.TemporaryDirectory() as scratch:
        store = shared.make_store(Path(scratch) / "store", classes=4)
        for method, options in CASES.items():
            run = Path(scratch) / method
            config = TrainConfig(
                features=store,
                out=run,
                method=method,
                set=options,
                classes_per_step=2,
                epochs=2,
                memory_per_class=2,
            )
            train(config, quiet=True)
            shutil.copytree(run / "model", out / method, dirs_exist_ok=True)
            model, _, _ = load_model(run / "model")
            draw = torch.Generator().manual_seed(0)
            audio, visual = torch.randn(3, 10, generator=draw), torch.randn(3, 2, 3, 12, generator=draw)
            with torch.inference_mode():
                scores = model.scores(audio, visual).double().softmax(dim=1)
            (out / method / "expected.json").write_text(json.dumps(scores.tolist()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
