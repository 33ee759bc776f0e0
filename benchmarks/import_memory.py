"""Peak memory and speed of importing released features, by file format.

    python benchmarks/import_memory.py --clips 600 --folder /tmp/import-memory

Files of each format are generated with the true shape (1568 x 768 float32 per clip, 4.8 MB) and imported by a new
process, whose peak resident memory is measured. 600 clips need 9 GB of disk space.
"""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

AUDIO = "audio_pretrained_feature/audio_pretrained_feature_dict.npy"
VISUAL = "visual_pretrained_feature/visual_pretrained_feature_dict.npy"
H5 = "visual_pretrained_feature/visual_features.h5"
FORMS = ("folder npy", "zip npy", "deflated npy", "parts h5", "deflated h5")

IMPORT = """
import dataclasses, json, resource, sys, time
from pathlib import Path
from avcil.datasets.protocols import AVE
from avcil.datasets.published import PublishedBenchmark
from avcil.datasets.split_files import SplitClip
from avcil.datasets.released.import_features import import_features
clips = {f"clip_{i:06d}": SplitClip("Cat", "train") for i in range(int(sys.argv[3]))}
parts = ("AVE_features.zip.aa", "AVE_features.zip.ab")
protocol = dataclasses.replace(AVE, feature_parts=parts[: int(sys.argv[4])])
none = {"val": 0, "test": 0}
benchmark = PublishedBenchmark(protocol=protocol, classes=("Cat",), clips=clips, removed=none)
begin = time.perf_counter()
report = import_features(Path(sys.argv[1]), Path(sys.argv[2]), benchmark)
seconds = time.perf_counter() - begin
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"stored": report.stored, "seconds": seconds, "peak": peak}))
"""


@dataclass(frozen=True, kw_only=True)
class Args:
    """Measure the import of generated files."""

    folder: Path
    """An empty or new folder for the files; removed at the end."""
    clips: int = 600
    """Clips per file."""
    forms: tuple[str, ...] = FORMS
    """Formats to measure."""


def write_npy(path: Path, width: tuple[int, ...], clips: int) -> None:
    """A pickled dict as in the release: protocol 3, inside an .npy file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    arrays = {f"clip_{i:06d}": rng.standard_normal(width, dtype=np.float32) for i in range(clips)}
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + b"\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
        pickle.dump(np.array(arrays, dtype=object), file, protocol=3)


def write_h5(path: Path, clips: int) -> None:
    """One dataset per clip."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as h5:
        for i in range(clips):
            h5.create_dataset(f"clip_{i:06d}", data=rng.standard_normal((1568, 768), dtype=np.float32))


def prepare(form: str, folder: Path, clips: int) -> tuple[Path, int]:
    """Files of one format; returns the source to import, and its number of parts."""
    files = folder / "files"
    write_npy(files / AUDIO, (768,), clips)
    name = H5 if "h5" in form else VISUAL
    write_h5(files / name, clips) if "h5" in form else write_npy(files / name, (1568, 768), clips)
    if form.startswith("folder"):
        return files, 1
    archive = folder / "AVE_features.zip"
    method = zipfile.ZIP_DEFLATED if "deflated" in form else zipfile.ZIP_STORED
    with zipfile.ZipFile(archive, "w", method, compresslevel=1) as target:
        for inside in (AUDIO, name):
            target.write(files / inside, f"AVE_features/{inside}")
    shutil.rmtree(files)
    return (cut(archive), 2) if "parts" in form else (archive, 1)


def cut(archive: Path) -> Path:
    """Split the archive into two parts."""
    half = archive.stat().st_size // 2
    with open(archive, "r+b") as whole, open(f"{archive}.ab", "wb") as second:
        whole.seek(half)
        shutil.copyfileobj(whole, second, 2**20)
        whole.truncate(half)
    return archive.rename(f"{archive}.aa")


def main() -> None:
    """Measure each format in turn."""
    args = tyro.cli(Args)
    print(f"{'form':<14}{'clips':>7}{'GB':>7}{'seconds':>9}{'MB/s':>7}{'peak MiB':>10}")
    for form in args.forms:
        shutil.rmtree(args.folder, ignore_errors=True)
        args.folder.mkdir(parents=True)
        subprocess.run([sys.executable, __file__, "prepare", form, args.folder, str(args.clips)], check=True)
        source, parts = json.loads((args.folder / "source.json").read_text())
        arguments = [source, str(args.folder / "store"), str(args.clips), str(parts)]
        done = subprocess.run(
            [sys.executable, "-c", IMPORT, *arguments], check=True, capture_output=True, text=True
        )
        result = json.loads(done.stdout.splitlines()[-1])
        size = args.clips * 1568 * 768 * 4 / 1e9
        stored, seconds, peak = (result[name] for name in ("stored", "seconds", "peak"))
        speed = size * 1000 / seconds
        print(f"{form:<14}{stored:>7}{size:>7.1f}{seconds:>9.1f}{speed:>7.0f}{peak:>10.0f}", flush=True)
    shutil.rmtree(args.folder)


if __name__ == "__main__":
    if sys.argv[1:2] == ["prepare"]:  # in a separate process, because it has all clips in memory
        made = prepare(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
        Path(sys.argv[3], "source.json").write_text(json.dumps([str(made[0]), made[1]]))
    else:
        main()
