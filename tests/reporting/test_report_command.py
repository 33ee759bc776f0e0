"""The command `avcil report` on runs without a model to explain."""

import pytest

from avcil.cli.report import Args, run
from avcil.errors import InputError


def test_page_is_written(make_run, tmp_path, capsys):
    """The page of a run without frames has the reason for missing attention maps."""
    out = tmp_path / "report.html"
    run(Args(runs=(make_run("a", modality="audio"), make_run("b", modality="visual")), out=out))
    assert "No clip is shown: none of these runs uses both audio and visual features" in out.read_text()
    assert "2 runs" in capsys.readouterr().out
    run(Args(runs=(tmp_path / "a",), out=out, examples=0))
    assert "No clip is shown" not in out.read_text()


def test_invalid_input_is_an_error(make_run, tmp_path):
    """A negative number of examples, and a missing run."""
    with pytest.raises(InputError, match="--examples must be 0 or more; not -1"):
        run(Args(runs=(make_run(),), out=tmp_path / "x.html", examples=-1))
    with pytest.raises(InputError, match="there is no run directory"):
        run(Args(runs=(tmp_path / "none",), out=tmp_path / "x.html"))
