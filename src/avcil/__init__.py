"""Audio-visual class-incremental learning.

The names in `__all__` are the public API. Each is imported when it is first used, so that `import avcil` takes
milliseconds and loads neither PyTorch nor FFmpeg.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from avcil.utils.version import __version__

if TYPE_CHECKING:
    from avcil.closed_form.estimator import Blade
    from avcil.data.clips import Clip, read_clips, write_clips
    from avcil.data.scan import scan
    from avcil.datasets.benchmark import Benchmark
    from avcil.errors import AvcilError, InputError
    from avcil.extraction.extract import extract
    from avcil.features.store import FeatureStore
    from avcil.inference.prediction import Prediction
    from avcil.inference.recognizer import Recognizer
    from avcil.interop.hugging_face import from_huggingface, to_huggingface
    from avcil.interop.scenario import as_scenario
    from avcil.interop.torch_dataset import as_torch_dataset
    from avcil.methods.registry import load_method, method_names
    from avcil.training.config import TrainConfig
    from avcil.training.run import train


__all__ = [
    "AvcilError",
    "Benchmark",
    "Blade",
    "Clip",
    "FeatureStore",
    "InputError",
    "Prediction",
    "Recognizer",
    "TrainConfig",
    "__version__",
    "as_scenario",
    "as_torch_dataset",
    "extract",
    "from_huggingface",
    "load_method",
    "method_names",
    "read_clips",
    "scan",
    "to_huggingface",
    "train",
    "write_clips",
]

_MODULES = {
    "Prediction": "avcil.inference.prediction",
    "AvcilError": "avcil.errors",
    "Benchmark": "avcil.datasets.benchmark",
    "Blade": "avcil.closed_form.estimator",
    "Clip": "avcil.data.clips",
    "FeatureStore": "avcil.features.store",
    "InputError": "avcil.errors",
    "Recognizer": "avcil.inference.recognizer",
    "TrainConfig": "avcil.training.config",
    "as_scenario": "avcil.interop.scenario",
    "as_torch_dataset": "avcil.interop.torch_dataset",
    "extract": "avcil.extraction.extract",
    "from_huggingface": "avcil.interop.hugging_face",
    "load_method": "avcil.methods.registry",
    "method_names": "avcil.methods.registry",
    "read_clips": "avcil.data.clips",
    "scan": "avcil.data.scan",
    "to_huggingface": "avcil.interop.hugging_face",
    "train": "avcil.training.run",
    "write_clips": "avcil.data.clips",
}
"""The module that defines each public name. A name must not be that of a submodule of avcil: importing the submodule
would replace it (PEP 562)."""

if sys.platform == "win32":
    raise ImportError("avcil does not run on Windows. Use WSL 2, a Linux virtual machine or a container")

# PyTorch then asks for huge pages: a new array of 100 MB causes a tenth of the page faults (docs/performance.md). It
# reads the variable once, at its first allocation, so it is set before anything imports PyTorch.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def __getattr__(name: str) -> Any:
    """Import a public name at its first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value  # the next use does not come here
    return value


def __dir__() -> list[str]:
    """All names, those not imported yet included."""
    return sorted({*globals(), *__all__})
