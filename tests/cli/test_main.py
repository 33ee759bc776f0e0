"""The command `avcil`: help, exit codes, one-line errors, interruption, pipes."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest

from avcil.cli import main as command
from avcil.cli.main import COMMANDS
from avcil.data.clips import read_clips
from avcil.errors import AvcilError, InputError
from avcil.features import FeatureStore

HEAVY = ("torch", "av", "transformers", "matplotlib.pyplot", "h5py")


def test_help_imports_nothing_heavy():
    """The --help of every command exits with 0, names its options, and imports neither torch nor av."""
    script = f"""
import contextlib, io, sys
from avcil.cli.main import COMMANDS, main
for words in [["--help"], ["help"], ["--version"], *([verb, "--help"] for verb in COMMANDS)]:
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            main(words)
    except SystemExit as end:
        assert not end.code, words
    assert "avcil" in out.getvalue(), words
print([name for name in {HEAVY} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_command(verb, avcil, capsys):
    """The module has Args and run; --help starts with the usage and has a description."""
    module = importlib.import_module(f"avcil.cli.{verb.replace('-', '_')}")
    assert module.Args.__doc__
    assert callable(module.run)
    assert avcil(verb, "--help") == 0
    assert f"avcil {verb}" in capsys.readouterr().out


def test_no_command(avcil, capsys):
    """The list of commands is printed, with exit code 2."""
    assert avcil() == 2
    shown = capsys.readouterr().out
    assert all(verb in shown for verb in COMMANDS)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError("the file is odd"), 2, "avcil: the file is odd\n"),
        (AvcilError("the work failed"), 1, "avcil: the work failed\n"),
        (KeyboardInterrupt(), 130, "avcil: stopped. Run the same command again to resume\n"),
        (
            OSError(28, "No space left on device", "/out/a"),
            2,
            "No space left on device: /out/a. Free disk space",
        ),
        (ZeroDivisionError("by nought"), 1, "avcil: unexpected ZeroDivisionError: by nought. Add --debug"),
    ],
)
@pytest.mark.parametrize("debug", [False, True])
def test_errors(error, code, message, debug, avcil, capsys, monkeypatch):
    """One line and an exit code; with --debug, at any position, also a traceback."""

    def fail(arguments):
        assert "--debug" not in arguments
        raise error

    monkeypatch.setattr(command, "_run", fail)
    assert avcil("methods", *(["--debug"] if debug else [])) == code
    err = capsys.readouterr().err
    assert message in err
    assert ("Traceback" in err) == debug
    assert debug or err.count("\n") == 1


def test_debug_as_a_file_name(avcil, monkeypatch):
    """After --, it is an argument and not an option."""
    monkeypatch.setattr(command, "_run", lambda arguments: 0 if "--debug" in arguments else 5)
    assert avcil("predict", "run", "--", "--debug") == 0


def test_ctrl_c(store, tmp_path):
    """During training: exit code 130, one line, and the same command resumes."""
    script = (
        "import os, signal, sys\n"
        "from avcil.runs.run_directory import RunDirectory\n"
        "log = RunDirectory.log\n"
        "def stop(self, line):\n"
        "    log(self, line)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "RunDirectory.log = stop\n"
        "from avcil.cli.main import main\n"
        "main(sys.argv[1:])\n"
    )
    arguments = ["train", str(store), "--method", "av-cil", "--classes-per-step", "6"]
    arguments += ["--epochs", "2", "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines()[-1] == "avcil: stopped. Run the same command again to resume"
    assert "Traceback" not in done.stderr


def test_sigterm_during_extraction(clips, tmp_path):
    """As with Ctrl-C, encoded clips are kept, one line is printed, and the same command resumes."""
    script = (
        "import os, signal, sys\n"
        "from avcil.features.writer import FeatureWriter\n"
        "add = FeatureWriter.add\n"
        "def stop(self, *words, **more):\n"
        "    add(self, *words, **more)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "FeatureWriter.add = stop\n"
        "from avcil.cli.main import main\n"
        "main(sys.argv[1:])\n"
    )
    rows = [f"{path},{path.parent.name},train" for path in sorted(clips.rglob("*.mp4"))]
    (tmp_path / "clips.csv").write_text("\n".join(["path,label,split", *rows]) + "\n")
    arguments = [
        "extract",
        str(tmp_path / "clips.csv"),
        "--out",
        str(tmp_path / "features"),
        "--batch-size",
        "1",
    ]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 143, done.stderr
    assert done.stderr.splitlines()[-1] == "avcil: stopped. Run the same command again to resume"
    assert "Traceback" not in done.stderr
    assert len(FeatureStore(tmp_path / "features")) == 1
    assert not (tmp_path / "features" / "failures.csv").exists()


def test_broken_pipe():
    """It is not an error if the reader ends, as `head` does."""
    done = subprocess.run(
        f"{sys.executable} -c 'from avcil.cli.main import main; main([\"methods\"])'"
        " | true; echo ${PIPESTATUS[0]}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.strip() == "0"
    assert done.stderr == ""


@pytest.mark.parametrize("arguments", ["methods", "--help", "scan --help"])
@pytest.mark.parametrize(
    ("target", "reason"), [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")]
)
def test_output_that_cannot_be_written(arguments, target, reason):
    """The error is one line, the exit code is not 0, and nothing is raised at exit."""
    done = shell(f"-m avcil {arguments} {target}")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"avcil: cannot write to standard output: {reason}.")


def test_finished_work_is_kept(clips, tmp_path):
    """If the summary of a scan cannot be printed, the clip list is complete."""
    done = shell(f"-m avcil scan {clips} --out {tmp_path}/clips.csv >&-")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert len(read_clips(tmp_path / "clips.csv")) == 16


@pytest.mark.parametrize("target", ["2>/dev/full", "2>&-"])
def test_messages_that_cannot_be_written(target, clips, tmp_path):
    """The command does not stop if progress and messages cannot be printed."""
    done = shell(f"-m avcil scan {clips} --out {tmp_path}/clips.csv {target}")
    assert (done.returncode, done.stdout.count("wrote")) == (0, 1)
    assert shell(f"-m avcil scan {tmp_path}/no --out {tmp_path}/clips.csv {target}").returncode == 2


def shell(words):
    command = f"{sys.executable} {words}"
    return subprocess.run(["/bin/bash", "-c", command], capture_output=True, text=True, timeout=120)


def test_names_without_unicode_output(tmp_path):
    """Without Unicode, names are printed with escapes."""
    script = "from avcil.cli import main as m; m._run = lambda words: print('🎸 guitar'); m.main(['methods'])"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == r"\U0001f3b8 guitar"
