"""Check that the wheel works by itself: built, installed into an empty environment, run without a network.

    python scripts/check_wheel.py [--visual NAME] [--audio NAME]

`uv build`, `uv venv`, and an installation of the wheel with the versions of constraints.txt; then, in a network
namespace without any interface (`unshare --net`, which needs the rights for it), clips are rendered, scanned,
extracted, trained on and predicted, away from the checkout. It downloads the dependencies and takes some minutes.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RENDER = (
    "from avcil.datasets.synthetic.clips import render_demo_clips as r; r('clips', train=3, val=1, test=1)"
)
ISOLATED = (
    "import avcil, pathlib, socket, sys; assert pathlib.Path(avcil.__file__).is_relative_to(sys.prefix); "
    "assert [name for _, name in socket.if_nameindex()] == ['lo']"
)


def install(folder: Path) -> Path:
    """The folder of the programs of a new environment that holds the wheel and what it requires."""
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv if uv.exists() else shutil.which("uv") or sys.exit("this check needs uv"))]
    subprocess.run([*command, "build", "--quiet", "--wheel", "--out-dir", folder / "dist", ROOT], check=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB", flush=True)
    subprocess.run([*command, "venv", "--quiet", "--python", sys.executable, folder / "venv"], check=True)
    target = ["--python", folder / "venv" / "bin" / "python", "-c", ROOT / "constraints.txt"]
    subprocess.run([*command, "pip", "install", "--quiet", *target, wheel], check=True)
    return folder / "venv" / "bin"


def use(programs: Path, folder: Path, encoders: list[str]) -> None:
    """Each command must succeed without a network."""
    avcil, python = str(programs / "avcil"), str(programs / "python")
    clip = "clips/test/{}/000.mp4"
    for command in (
        [python, "-P", "-c", ISOLATED],
        [python, "-P", "-c", RENDER],
        [avcil, "scan", "clips", "--out", "clips.csv"],
        [avcil, "extract", "clips.csv", "--out", "features", *encoders],
        [avcil, "train", "features", "--classes-per-step", "8", "--out", "run"],
        [avcil, "predict", "run", clip],
    ):
        if clip in command:
            label = sorted(path.name for path in (folder / "clips" / "test").iterdir())[0]
            command[-1] = clip.format(label)
        print("$", *(Path(command[0]).name, *command[1:]), flush=True)
        subprocess.run(["unshare", "--net", *command], cwd=folder, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--visual")
    parser.add_argument("--audio")
    options = parser.parse_args()
    encoders = [part for name, value in vars(options).items() if value for part in (f"--{name}", value)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        use(install(folder), folder, encoders)
    print("the wheel works without the checkout and without a network")


if __name__ == "__main__":
    main()
