"""The inputs of fuzz_untrusted.py: small models, feature stores, run directories and released archives.

Each subject is made once; `open_*` uses a mutant of it as avcil's commands do, and returns what it holds in a form that
can be compared with the original's, or raises.
"""

from __future__ import annotations

import importlib.util
import io
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzz_mutations
import numpy as np
import torch

from avcil.data.clips import Clip
from avcil.datasets.released.import_features import import_features
from avcil.encoders.registry import audio_encoder, visual_encoder
from avcil.features import FeatureSpec, FeatureStore, FeatureWriter, Manifest
from avcil.features.verify import verify
from avcil.inference import Recognizer
from avcil.inference.clip_features import ClipFeatures
from avcil.runs.run_directory import RunDirectory
from avcil.runs.run_files import read_run
from avcil.training.config import TrainConfig
from avcil.training.run import train

METHODS = {
    "av-cil": (),
    "icarl": (),
    "afc": (),
    "blade": (),
    "ranpac": ("features=30",),
    "slda": ("features=20",),
    "rls": ("features=20", "stream_features=10"),
}
CLASSES, OF_CLASS = 4, 8
SPLITS = ("train",) * 4 + ("val",) * 2 + ("test",) * 2

spec = importlib.util.spec_from_file_location(
    "released_files", Path(__file__).parents[1] / "tests/helpers/released_files.py"
)
assert spec is not None
assert spec.loader is not None
released = importlib.util.module_from_spec(spec)
spec.loader.exec_module(released)
IDS = released.clip_ids(2)


def make_store(folder: Path) -> Manifest:
    """A store whose encoders are avcil's own, with synthetic features."""
    visual, audio = visual_encoder("patch-motion"), audio_encoder("log-mel")
    manifest = Manifest(
        visual=FeatureSpec(shape=(*visual.token_grid, visual.width), encoder=visual.fingerprint()),
        audio=FeatureSpec(shape=(audio.width,), encoder=audio.fingerprint()),
        sampling={"frames": visual.frames, "sample_rate": audio.sample_rate},
    )
    draw = np.random.default_rng(0)
    with FeatureWriter(folder, manifest, shard_size=12) as writer:
        for label in range(CLASSES):
            means = draw.standard_normal(visual.width), draw.standard_normal(audio.width)
            for number, split in enumerate(SPLITS):
                name = f"c{label}/{number}"
                clip = Clip(clip_id=name, path=Path(f"{name}.mp4"), label=f"c{label}", split=split)
                shape = (*visual.token_grid, visual.width)
                tokens = means[0] + draw.standard_normal(shape)
                writer.add(clip, visual=tokens, audio=means[1] + draw.standard_normal(audio.width))
    return manifest


def make(folder: Path) -> None:
    """All subjects, in one folder for each kind."""
    torch.set_num_threads(1)
    make_store(folder / "store" / "store")
    for method, options in METHODS.items():
        config = TrainConfig(
            features=folder / "store" / "store",
            out=folder / "run" / method,
            method=method,
            set=options,
            classes_per_step=2,
            epochs=1,
            exemplars_per_class=1,
        )
        train(config, quiet=True)
        shutil.copytree(folder / "run" / method / "model", folder / "model" / method)
        shutil.rmtree(folder / "run" / method / "model")
    content = {
        "npy": {
            released.AUDIO_PATH: released.npy_bytes(released.audio_of(IDS)),
            released.VISUAL_PATH: released.npy_bytes(released.visual_of(IDS)),
        },
        "h5": {
            released.AUDIO_PATH: released.npy_bytes(released.audio_of(IDS)),
            released.H5_PATH: released.h5_bytes(released.visual_of(IDS)),
        },
    }
    for name, files in content.items():
        (folder / "archive" / name).mkdir(parents=True)
        released.zipped(folder / "archive" / name / "AVE_features.zip", files, zipfile.ZIP_DEFLATED)


def features(number: int) -> ClipFeatures:
    """A synthetic clip."""
    draw = torch.Generator().manual_seed(number)
    shape = (1, *visual_encoder("patch-motion").token_grid, 128)
    audio = torch.randn(1, audio_encoder("log-mel").width, generator=draw)
    return ClipFeatures(audio=audio, visual=torch.randn(shape, generator=draw), clip_id=f"new{number}")


def open_model(folder: Path) -> Any:
    """Load it, build its encoders, predict, and learn a class."""
    recognizer = Recognizer.load(folder)
    assert recognizer.reader is not None
    predictions = [recognizer.predict_clip(features(number)).probabilities for number in range(2)]
    learning = recognizer.snapshot().learning
    if learning is not None and learning.settings.method in ("blade", "slda", "ranpac", "rls"):
        recognizer.learn([features(2), features(3)], ["owl", "owl"])
    return recognizer.classes_[:CLASSES], [sorted(result.items()) for result in predictions]


def open_store(folder: Path) -> Any:
    """Open, read and verify it; then open it for writing, which removes files of killed writers."""
    store = FeatureStore(folder)
    rows = range(len(store))
    visual, audio = store.visual(rows), store.audio(rows)
    is_intact = verify(folder).is_intact
    FeatureWriter(folder, store.manifest).close()
    if not is_intact:
        return None
    result = zip(store.clips, visual, audio, strict=True)
    return {clip.clip_id: (clip, v.tobytes(), a.tobytes()) for clip, v, a in result}


def open_run(folder: Path) -> Any:
    """Read it for a report, and as a run to resume."""
    directory = RunDirectory(folder)
    for index, _ in enumerate(directory.steps_done()):
        directory.step_tensors(index)
    directory.load_progress(0)
    return read_run(folder).accuracy_per_step


def open_archive(folder: Path) -> Any:
    """Import it; no unpacked file may remain."""
    out = folder.with_name(folder.name + ".store")
    try:
        import_features(folder / "AVE_features.zip", out, released.benchmark_of(IDS))
        store = FeatureStore(out)
        rows = range(len(store))
        result = zip(store.clips, store.visual(rows), store.audio(rows), strict=True)
        return {clip.clip_id: (v.tobytes(), a.tobytes()) for clip, v, a in result}
    finally:
        left = list(out.glob(".unpacked*"))
        shutil.rmtree(out, ignore_errors=True)
        assert not left, f"left behind: {left}"


OPEN: dict[str, Callable[[Path], Any]] = {
    "model": open_model,
    "store": open_store,
    "run": open_run,
    "archive": open_archive,
}


def mutate_archive(folder: Path, draw: random.Random) -> tuple[str, bool]:
    """Change the archive's bytes, or its content with matching checksums."""
    archive = folder / "AVE_features.zip"
    if draw.random() < 0.4:
        done = draw.choice([fuzz_mutations.flip, fuzz_mutations.cut, fuzz_mutations.kind_of_file])(
            archive, draw
        )
        return f"AVE_features.zip: {done}", False
    with zipfile.ZipFile(archive) as opened:
        files = {name: opened.read(name) for name in opened.namelist()}
    name = draw.choice(sorted(files))
    way = draw.randrange(6)
    if way == 0:
        files[name] = bytes(draw.choice([1 << 20, 200 << 20]))
    elif way == 1:
        shape = draw.choice([(0, 2**40), (2**40, 0), (768, 1), (2**62,)])
        files[name] = (
            files[name].replace(b"M\x00\x03\x85", b"\x8a\x06" + shape[0].to_bytes(6, "little") + b"\x85", 1)
            if (0 < shape[0] < 2**47)
            else files[name][: len(files[name]) // 2]
        )
    elif way == 2:
        files[
            draw.choice(["../out.npy", "/etc/out.npy", "a/../../" + name, name + "\\x", "__MACOSX/" + name])
        ] = files[name]
    elif way == 3:
        out = io.BytesIO()
        np.save(out, {draw.choice([*IDS, "x" * 10**6, "../x", 3]): Path("/etc/passwd")}, allow_pickle=True)
        files[name] = out.getvalue()
    else:
        data = bytearray(files[name])
        for _ in range(draw.choice([1, 4, 32])):
            end = len(data) if draw.random() < 0.3 else min(len(data), 3000)
            data[draw.randrange(end)] = draw.randrange(256)
        files[name] = bytes(data)
    released.zipped(archive, files, draw.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    return f"{name} inside: way {way}", True
