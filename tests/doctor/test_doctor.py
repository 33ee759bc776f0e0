"""The results of `avcil doctor`: all is well, packages are missing, or what it tests crashes or hangs."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from avcil.cli.main import main
from avcil.doctor import attention, packages
from avcil.doctor.checks import Check, find_checks
from avcil.doctor.examination import print_report, run_check, run_in_subprocess
from avcil.doctor.machine import runs_folder
from avcil.doctor.result import CheckResult

IN_THIS_PROCESS = ("python", "packages", "machine", "runs", "decode", "encoders", "attention", "gpu")


def check_named(name, *, out=Path("runs"), ray=False):
    return next(check for check in find_checks(out, ray=ray) if check.name == name)


@pytest.mark.parametrize("name", IN_THIS_PROCESS)
def test_all_is_well_here(name, tmp_path):
    """Where the tests run, the core works; each finding has a detail."""
    findings = run_check(check_named(name, out=tmp_path / "runs"))
    assert findings
    for finding in findings:
        assert not finding.fails, finding
        assert any(letter.isdigit() for letter in finding.detail) or finding.name == "gpu"
    assert not list(tmp_path.iterdir()), "it leaves nothing behind"


@pytest.fixture
def metadata(tmp_path, monkeypatch):
    """Write other metadata of avcil, found before the real one."""

    def write(*lines):
        folder = tmp_path / "packages" / "avcil-9.dist-info"
        folder.mkdir(parents=True)
        text = "\n".join(["Metadata-Version: 2.1", "Name: avcil", "Version: 9", *lines])
        (folder / "METADATA").write_text(text + "\n")
        monkeypatch.syspath_prepend(str(tmp_path / "packages"))

    return write


def test_missing_and_old_packages(metadata):
    """The requirements in the metadata of avcil are those that are checked."""
    metadata("Requires-Python: >=99", "Requires-Dist: no-such-thing>=2", "Requires-Dist: numpy>=99,<100")
    (python,) = packages.python()
    assert (python.status, python.fails) == ("broken", True)
    assert ">=99" in python.advice
    missing, old = packages.required_packages()
    assert (missing.status, missing.detail) == ("missing", "is not installed")
    assert missing.advice == "pip install 'no-such-thing>=2'"
    assert old.status == "broken"
    assert "does not fit; avcil needs <100,>=99" in old.detail
    assert missing.fails
    assert old.fails


def test_extras_are_those_of_the_metadata(metadata, tmp_path, monkeypatch):
    """One by one; half there counts as missing, there but not to be imported as broken; none stops the core."""
    metadata(
        "Provides-Extra: good",
        "Provides-Extra: half",
        "Provides-Extra: bad",
        "Requires-Dist: tqdm; extra == 'good'",
        "Requires-Dist: tqdm; extra == 'half'",
        "Requires-Dist: no-such-thing; extra == 'half'",
        "Requires-Dist: sulks; extra == 'bad'",
    )
    sulks = tmp_path / "packages" / "sulks-1.dist-info"
    sulks.mkdir()
    (sulks / "METADATA").write_text("Metadata-Version: 2.1\nName: sulks\nVersion: 1\n")
    (sulks / "top_level.txt").write_text("sulks\n")
    (tmp_path / "packages" / "sulks.py").write_text("raise RuntimeError('built for another numpy')\n")
    assert packages.extra_names() == ["bad", "good", "half"]
    found = {name: next(packages.extra_packages(name)) for name in packages.extra_names()}
    assert {name: finding.status for name, finding in found.items()} == {
        "bad": "broken",
        "good": "ok",
        "half": "missing",
    }
    assert "RuntimeError: built for another numpy" in found["bad"].detail
    assert "pip install 'avcil[half]'" in found["half"].advice
    assert not any(finding.fails for finding in found.values())
    assert "tqdm" in found["half"].detail


def test_the_real_extras_are_looked_at():
    """Every extra of avcil has its check."""
    from importlib.metadata import metadata as metadata_of

    extras = metadata_of("avcil").get_all("Provides-Extra")
    assert {f"extra {name}" for name in extras} <= {check.name for check in find_checks()}


def test_avcil_itself_not_installed(monkeypatch):
    """A checkout without set-up: one finding, no crash."""
    monkeypatch.setattr(packages, "PACKAGE", "no-such-thing")
    (python,) = packages.python()
    assert python.fails
    assert "make setup" in python.advice
    assert packages.extra_names() == []


@pytest.fixture
def fake_module(tmp_path, monkeypatch):
    """Put a module in the place of a package, for processes started from here."""

    def write(name, code):
        (tmp_path / f"{name}.py").write_text(code)
        monkeypatch.syspath_prepend(str(tmp_path))

    return write


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os\nos.abort()", "crashed with SIGABRT in File"),
        ("import sys\nsys.exit(7)", "ended with 7"),
        ("raise ImportError('libx264.so.99 is missing')", "ImportError: libx264.so.99 is missing"),
    ],
)
def test_a_decoder_that_dies(code, said, fake_module):
    """However it dies, it is one broken finding of the core."""
    fake_module("av", code)
    (finding,) = run_in_subprocess(check_named("decode"))
    assert finding.fails
    assert finding.name == "decode"
    assert said in finding.detail
    assert finding.advice


def test_a_decoder_that_hangs(fake_module):
    """It is given up after its time."""
    fake_module("av", "import time\ntime.sleep(60)")
    check = dataclasses.replace(check_named("decode"), limit=1.0)
    (finding,) = run_in_subprocess(check)
    assert finding.fails
    assert finding.detail == "no answer within 1 s"


def test_one_crash_does_not_stop_the_others(fake_module, monkeypatch, capsys):
    """The command as users run it: exit code 1, and every other check has its say."""
    fake_module("av", "import os\nos.abort()")
    slow = ("transformers", "imports", "extra")
    monkeypatch.setattr(
        "avcil.doctor.checks.find_checks",
        lambda *_, **__: [check for check in find_checks() if not check.name.startswith(slow)],
    )
    with pytest.raises(SystemExit) as end:
        main(["doctor", "--json"])
    assert end.value.code == 1
    told = json.loads(capsys.readouterr().out)
    assert told["works"] is False
    status = {finding["name"]: finding["status"] for finding in told["results"]}
    assert status["decode"] == "broken"
    assert status["numpy"] == status["machine"] == status["runs"] == status["attention"] == "ok"
    assert status["patch-motion"] == status["log-mel"] == "ok"


def test_conflicting_packages(fake_module, monkeypatch):
    """A torchvision of another PyTorch is named, with the way out."""
    fake_module("torchvision", "raise RuntimeError('operator torchvision::nms does not exist')")
    version = packages._version
    monkeypatch.setattr(packages, "_version", lambda name: "0.9" if name == "torchvision" else version(name))
    finding = next(found for found in packages.conflicts() if found.name == "torchvision")
    assert finding.status == "broken"
    assert not finding.fails
    assert finding.advice.startswith("pip uninstall torchvision")


def test_transformers_missing(monkeypatch):
    """Encoders of a missing extra are not tested; its result gives the reason, and the core does not fail."""
    monkeypatch.setattr("avcil.doctor.media.find_spec", lambda name: None)
    assert run_check(check_named("transformers")) == []
    version = packages._version
    monkeypatch.setattr(packages, "_version", lambda name: None if name == "transformers" else version(name))
    (result,) = run_check(check_named("extra encoders"))
    assert (result.status, result.fails) == ("missing", False)
    assert result.detail == "not installed: transformers"
    assert "avcil[encoders]" in result.advice


def test_transformers_by_the_way_users_take():
    """If it is installed, a video and an audio model are saved, found, and encode; no hub is contacted."""
    pytest.importorskip("transformers")
    assert [result.status for result in run_in_subprocess(check_named("transformers"))] == ["ok", "ok"]


@pytest.mark.parametrize("fault", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_cannot_be_written(fault, tmp_path, monkeypatch):
    """The result gives the reason and what to do."""

    def refuse(*_, **__):
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(os, "mkdir", refuse)
    (finding,) = runs_folder(tmp_path / "runs" / "x")
    assert finding.fails
    assert f"cannot write in {tmp_path}: {os.strerror(fault)}" in finding.detail
    assert "--out" in finding.advice


def test_a_file_in_the_folders_place(tmp_path):
    """The same for a path that goes through a file."""
    (tmp_path / "runs").write_text("")
    (finding,) = runs_folder(tmp_path / "runs" / "demo")
    assert finding.fails
    assert str(tmp_path / "runs") in finding.detail


def test_little_room(tmp_path, monkeypatch):
    """A nearly full disk is reported before a run fills it."""
    monkeypatch.setattr("avcil.doctor.machine.MIN_FREE", 2**80)
    (finding,) = runs_folder(tmp_path)
    assert finding.fails
    assert "GiB free" in finding.detail


def test_no_compiler(monkeypatch):
    """Attention then uses PyTorch operators, which is slower but no failure; the result gives the reason."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    (finding,) = run_in_subprocess(check_named("attention"))
    assert finding.status == "missing"
    assert not finding.fails
    assert "PyTorch's operators, because there is no C compiler" in finding.detail
    assert "install gcc" in finding.advice


def test_a_kernel_that_computes_wrongly(monkeypatch):
    """It is broken, and part of the core: training would be wrong."""
    plain = attention.plain_attention
    monkeypatch.setattr(attention, "kernel_attention", lambda *tensors: 1.01 * plain(*tensors))
    (finding,) = run_check(check_named("attention"))
    assert (finding.status, finding.fails) == ("broken", True)


@pytest.mark.parametrize(
    ("cuda", "driver", "detail", "advice"),
    [
        (None, False, "no NVIDIA driver", ""),
        ("12.6", False, "no NVIDIA driver", "install its driver"),
        (
            None,
            True,
            "Fast Card, 550.1, but this PyTorch is the CPU build",
            "TORCH=cuda make setup",
        ),
        ("12.6", True, "Fast Card, 550.1, but PyTorch for CUDA 12.6 cannot use it", "CUDA_VISIBLE_DEVICES"),
    ],
)
def test_no_gpu(cuda, driver, detail, advice, tmp_path, monkeypatch):
    """Why there is none, and what to do, by what is there of it."""
    if driver:
        (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 'Fast Card, 550.1'\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    finding = attention.explain_missing_gpu(cuda)
    assert (finding.status, finding.fails) == ("missing", False)
    assert detail in finding.detail
    assert advice in finding.advice


def test_a_device_that_computes_right():
    """The comparison itself, on the processor: float32 nearly exact, bfloat16 coarse but right."""
    exact, coarse = attention.product_errors("cpu")
    assert exact < attention.TOLERANCE < coarse < attention.BF16_TOLERANCE


def test_ray_starts_if_asked():
    """Only then: it takes seconds."""
    assert "ray" not in {check.name for check in find_checks()}
    pytest.importorskip("ray")
    (finding,) = run_in_subprocess(check_named("ray", ray=True))
    assert finding.status == "ok", finding
    assert "started and computed [4, 9]" in finding.detail


def test_ray_missing(fake_module):
    """With --ray and without Ray, the result says how to install it; the core does not fail."""
    fake_module("ray", "raise ImportError('no ray')")
    (finding,) = run_in_subprocess(check_named("ray", ray=True))
    assert (finding.status, finding.fails) == ("broken", False)
    assert "pip install 'avcil[distributed]'" in finding.detail


def test_no_other_machine_is_asked():
    """Names are not looked up and connections not made, except to this machine."""
    script = """
import socket, sys
from avcil.doctor.__main__ import refuse_network
sys.addaudithook(refuse_network)
refused = []
for ask in (lambda: socket.getaddrinfo("hub.example", 443), lambda: socket.create_connection(("192.0.2.1", 9))):
    try:
        ask()
    except ConnectionRefusedError as error:
        refused.append(str(error).split()[-1])
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()).close()
print(refused)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "['hub.example', '192.0.2.1']", done.stderr


def test_a_check_that_asks_for_a_network(fake_module):
    """It is broken, and the result names the host."""
    fake_module("av", "import socket\nsocket.getaddrinfo('hub.example', 443)")
    (finding,) = run_in_subprocess(check_named("decode"))
    assert finding.status == "broken"
    assert "contacts no other machine, so not hub.example" in finding.detail


def test_report(capsys):
    """One line per result; the exit code depends on the core alone."""
    fine = CheckResult(status="ok", name="decode", detail="3 frames")
    extra = CheckResult(
        status="missing", name="extra hub", detail="none", advice="pip install x", required=False
    )
    bad = CheckResult(status="broken", name="runs", detail="full", advice="free some space")

    def checks(*results):
        return [Check(name="check", run=lambda: results, in_subprocess=False)]

    assert print_report(checks(fine, extra)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:2]] == [
        ["ok", "decode", "3", "frames"],
        ["missing", "extra", "hub", "none", "->", "pip", "install", "x"],
    ]
    assert lines[-1] == "avcil works here"
    assert print_report(checks(fine, bad)) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "avcil does not work here yet: runs"


@pytest.mark.parametrize("words", [["-m", "avcil", "train", "x", "--out", "y"], ["-m", "avcil", "doctor"]])
def test_the_command_lines_own_library_missing(words, fake_module, tmp_path):
    """The error then names the file to look at, and how to get the report."""
    (tmp_path / "tyro.py").write_text("raise ModuleNotFoundError(\"No module named 'tyro'\", name='tyro')\n")
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, *words],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 1
    assert done.stderr == (
        "avcil: the package tyro is missing. python -m avcil.doctor shows how to install it\n"
    )
