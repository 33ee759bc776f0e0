"""Check that the wheel contains what it must, installs into an empty environment, and works there.

    python scripts/check_wheel.py [pinned] [newest] [oldest]

Run it with the Python of `.venv` (`make check-wheel`). There are three modes; without arguments, all are checked:

pinned: the versions of constraints.txt.
newest: the newest versions that the ranges of pyproject.toml allow. The commands find no C compiler and no other system
    programs.
oldest: the oldest versions that these ranges allow.

In all modes, packages are installed from wheels only, and torch has the version and the build of `make setup`
(scripts/install_torch.sh), because PyPI's build for Linux needs several GB of CUDA libraries. TORCH=cuda installs
PyPI's build, for a Python version (`--python 3.13`) without a CPU build. Dependencies are downloaded, or come from uv's
cache.

The commands are run outside of the checkout, with an empty home folder, and without a network if the system permits it
(`unshare --net`). If it does not, a warning is printed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UV = Path(sys.executable).with_name("uv")
REQUIRED_FILES = (
    "avcil/py.typed",
    "avcil/encoders/weights/yamnet.safetensors",
    "avcil/encoders/weights/efficientnet_lite0.safetensors",
    "avcil/encoders/weights/NOTICE.txt",
    "avcil/encoders/weights/LICENSE-Apache-2.0.txt",
    ".dist-info/licenses/LICENSE",
)
MODES: dict[str, list[str | Path]] = {
    "pinned": ["--constraints", ROOT / "constraints.txt"],
    "newest": [],
    "oldest": ["--resolution", "lowest-direct", "--requirements", ROOT / "pyproject.toml"],
}
"""Options of `uv pip install` for each mode."""
NO_NETWORK = (["--net"], ["--user", "--map-root-user", "--net"])
"""Options of unshare that switch the network off: for root, and for a user who may create namespaces."""
IMPORT = (
    "import avcil, pathlib, sys; assert pathlib.Path(avcil.__file__).is_relative_to(sys.prefix); "
    "print(avcil.__version__, avcil.Recognizer)"
)
RENDER = (
    "from avcil.datasets.synthetic.clips import render_demo_clips as r; r('clips', train=3, val=1, test=1)"
)
NO_COMPILER = "there is no C compiler"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("modes", nargs="*", metavar="MODE", help="pinned, newest, oldest; default: all")
    parser.add_argument(
        "--python",
        default=sys.executable,
        help="the Python of the new environments, in a form that uv accepts",
    )
    options = parser.parse_args()
    modes = options.modes or list(MODES)
    if unknown := set(modes) - set(MODES):
        parser.error(f"unknown mode {sorted(unknown)[0]!r}; use {', '.join(MODES)}")
    prefix = no_network()
    with tempfile.TemporaryDirectory(prefix="avcil-check-wheel-") as name:
        wheel = build(Path(name))
        for mode in modes:
            began = time.perf_counter()
            print(f"\n== {mode}", flush=True)
            programs = install(wheel, Path(name) / mode, mode, options.python)
            run_commands(programs, Path(name) / mode, mode, prefix)
            print(f"== {mode}: the wheel works ({time.perf_counter() - began:.0f} s)")


def no_network() -> list[str]:
    """The command that runs others without a network; empty, with a warning, if the system does not permit it."""
    unshare = shutil.which("unshare")  # the whole path, as the commands of `newest` have another PATH
    for options in NO_NETWORK if unshare else ():
        if subprocess.run([unshare, *options, "true"], capture_output=True).returncode == 0:
            return [unshare, *options]
    print(
        "check_wheel: warning: unshare --net is not permitted; commands can use the network",
        file=sys.stderr,
    )
    return []


def build(folder: Path) -> Path:
    """Build the source distribution, and the wheel from it; check the wheel's files."""
    subprocess.run([UV, "build", "--quiet", "--out-dir", folder, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    print(f"{wheel.name}: {len(names)} files, {wheel.stat().st_size / 1e6:.1f} MB")
    for required in REQUIRED_FILES:
        assert any(name.endswith(required) for name in names), f"the wheel lacks {required}"
    folders = {name.split("/")[0] for name in names}
    assert folders == {"avcil", f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"}, folders
    return wheel


def install(wheel: Path, folder: Path, mode: str, python: str) -> Path:
    """Install the wheel into a new environment; returns the folder of its programs."""
    programs = folder / "venv" / "bin"
    subprocess.run([UV, "venv", "--quiet", "--python", python, folder / "venv"], check=True)
    subprocess.run(["sh", ROOT / "scripts" / "install_torch.sh", programs / "python"], check=True)
    options = ["--only-binary", ":all:", *MODES[mode]]
    for subcommand, *words in (["install", *options, wheel], ["check"], ["freeze"]):
        target = ["--python", programs / "python"]
        subprocess.run([UV, "pip", subcommand, "--quiet", *target, *words], check=True)
    return programs


def run_commands(programs: Path, folder: Path, mode: str, prefix: list[str]) -> None:
    """Run the commands in the new environment; each must succeed, without a warning or a traceback."""
    hidden = ("CC", "PYTHONPATH", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"HOME": str(folder / "home"), "XDG_CACHE_HOME": str(folder / "home" / ".cache")}
    environment["PATH"] = str(programs) if mode == "newest" else f"{programs}:{environment['PATH']}"
    (folder / "home").mkdir()
    clip = "clips/test/ball-bell/000.mp4"
    train = ["avcil", "train", "features", "--classes-per-step", "8"]
    for command in (
        ["python", "-P", "-c", IMPORT],
        ["avcil", "doctor"],
        ["avcil", "demo", "--help"],
        ["python", "-P", "-c", RENDER],
        ["avcil", "scan", "clips", "--out", "clips.csv"],
        ["avcil", "extract", "clips.csv", "--out", "features"],
        [*train, "--out", "blade"],
        ["avcil", "predict", "blade", clip],
        [*train, "--out", "av-cil", "--method", "av-cil", "--exemplars-per-class", "1", "--epochs", "2"],
        ["avcil", "predict", "av-cil", clip],
    ):
        output = run([*prefix, str(programs / command[0]), *command[1:]], command, folder, environment)
        assert "Traceback" not in output, "a traceback was printed"
        assert "Warning" not in output, "a Python warning was printed"
        notice = mode == "newest" and (command[1] == "doctor" or "--method" in command)
        assert (NO_COMPILER in output) == notice, (
            "doctor and AV-CIL's training, alone, name the missing compiler"
        )


def run(command: list[str], shown: list[str], folder: Path, environment: dict[str, str]) -> str:
    """Run a command, print and return its output; stops the check if it fails."""
    began = time.perf_counter()
    print("$", *shown, flush=True)
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    print(done.stdout, f"[{time.perf_counter() - began:.1f} s]", flush=True)
    if done.returncode:
        sys.exit(f"check_wheel: this command failed with exit code {done.returncode}: {' '.join(shown)}")
    return done.stdout


if __name__ == "__main__":
    main()
