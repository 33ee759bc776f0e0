"""The results of `avcil doctor`: a working installation, missing packages, and checks that crash or hang."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import subprocess
import sys

import pytest
from doctor_checks import check_named

from avcil.cli.main import main
from avcil.doctor import attention
from avcil.doctor.checks import Check, find_checks
from avcil.doctor.examination import print_report, run_check, run_in_subprocess
from avcil.doctor.machine import runs_folder
from avcil.doctor.result import CheckResult

IN_THIS_PROCESS = ("python", "packages", "machine", "runs", "decode", "encoders", "attention", "gpu")


@pytest.mark.parametrize("name", IN_THIS_PROCESS)
def test_core_works_in_the_test_environment(name, tmp_path):
    """No check of the core fails, and each result has a detail."""
    findings = run_check(check_named(name, out=tmp_path / "runs"))
    assert findings
    for finding in findings:
        assert not finding.fails, finding
        assert any(letter.isdigit() for letter in finding.detail) or finding.name == "gpu"
    assert not list(tmp_path.iterdir()), "no file remains"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os\nos.abort()", "crashed with SIGABRT in File"),
        ("import sys\nsys.exit(7)", "ended with 7"),
        ("raise ImportError('libx264.so.99 is missing')", "ImportError: libx264.so.99 is missing"),
    ],
)
def test_crashing_decoder(code, message, fake_module):
    """Any kind of crash is one failed check of the core."""
    fake_module("av", code)
    (finding,) = run_in_subprocess(check_named("decode"))
    assert finding.fails
    assert finding.name == "decode"
    assert message in finding.detail
    assert finding.advice


def test_hanging_decoder(fake_module):
    """The check is ended after its time limit."""
    fake_module("av", "import time\ntime.sleep(60)")
    check = dataclasses.replace(check_named("decode"), limit=1.0)
    (finding,) = run_in_subprocess(check)
    assert finding.fails
    assert finding.detail == "no answer within 1 s"


def test_one_crash_does_not_stop_other_checks(fake_module, monkeypatch, capsys):
    """The command has exit code 1, and every other check has a result."""
    fake_module("av", "import os\nos.abort()")
    slow = ("transformers", "imports", "extra", "gpu", "conflicts")
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


@pytest.mark.parametrize("fault", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_folder_that_is_not_writable(fault, tmp_path, monkeypatch):
    """The result gives the reason and what to do."""

    def refuse(*_, **__):
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(os, "mkdir", refuse)
    (finding,) = runs_folder(tmp_path / "runs" / "x")
    assert finding.fails
    assert f"cannot write in {tmp_path}: {os.strerror(fault)}" in finding.detail
    assert "--out" in finding.advice


def test_file_in_place_of_a_folder(tmp_path):
    """The result is the same for a path below a file."""
    (tmp_path / "runs").write_text("")
    (finding,) = runs_folder(tmp_path / "runs" / "demo")
    assert finding.fails
    assert str(tmp_path / "runs") in finding.detail


def test_little_disk_space(tmp_path, monkeypatch):
    """A nearly full disk is reported before a run fills it."""
    monkeypatch.setattr("avcil.doctor.machine.MIN_FREE", 2**80)
    (finding,) = runs_folder(tmp_path)
    assert finding.fails
    assert "GiB free" in finding.detail


def test_no_compiler(monkeypatch):
    """Attention then uses PyTorch operators, which are slower; this is no failure, and the result has the reason."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    (finding,) = run_in_subprocess(check_named("attention"))
    assert finding.status == "missing"
    assert not finding.fails
    assert "PyTorch's operators, because there is no C compiler" in finding.detail
    assert "install gcc" in finding.advice


def test_wrong_kernel_results(monkeypatch):
    """The check fails and is part of the core, because training would be wrong."""
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
    """The result has the reason and what to do, depending on which components exist."""
    if driver:
        (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 'Fast Card, 550.1'\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    finding = attention.explain_missing_gpu(cuda)
    assert (finding.status, finding.fails) == ("missing", False)
    assert detail in finding.detail
    assert advice in finding.advice


def test_correct_device():
    """The comparison on the CPU: float32 to its precision, bfloat16 to its lower precision."""
    exact, coarse = attention.product_errors("cpu")
    assert exact < attention.TOLERANCE < coarse < attention.BF16_TOLERANCE


@pytest.mark.slow
def test_ray_is_tested_on_request():
    """It is optional because it takes seconds."""
    assert "ray" not in {check.name for check in find_checks()}
    pytest.importorskip("ray")
    (finding,) = run_in_subprocess(check_named("ray", ray=True))
    assert finding.status == "ok", finding
    assert "started and computed [4, 9]" in finding.detail


def test_no_connections_to_other_machines():
    """No host name is resolved and no connection is opened, except to this machine."""
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


def test_check_that_needs_a_network(fake_module):
    """It fails, and the result names the host."""
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
