"""The code on the how-to pages works unchanged."""

from __future__ import annotations

import doctest
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from avcil.cli.main import main
from avcil.encoders import registry

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"


def code_of(page: str) -> list[str]:
    """The Python blocks of a page."""
    return re.findall(r"```python\n(.*?)```", (HOW_TO / page).read_text(encoding="utf-8"), re.DOTALL)


def test_encoder_page(tmp_path, monkeypatch):
    """The encoder is in the list, found by name and fingerprint, independent of the batch, and finite for
    unusual audio."""
    (tmp_path / "loudness_example.py").write_text(code_of("adding-an-encoder.md")[0])
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(registry.AUDIO, "loudness", ("loudness_example", "Loudness"))
    encoder = registry.audio_encoder("loudness")
    waveforms = [np.float32([0.5] * n) for n in (1, 40, 16_000)] + [np.zeros(100, np.float32)]
    together = encoder.encode(waveforms)
    assert together.shape == (4, encoder.width)
    assert together.dtype == np.float32
    assert np.isfinite(together).all()
    np.testing.assert_array_equal(
        together, np.concatenate([encoder.encode([waveform]) for waveform in waveforms])
    )
    np.testing.assert_allclose(together[2], 10 * np.log10(0.25 + 1e-6), rtol=1e-6)
    again = registry.from_fingerprint(json.loads(json.dumps(encoder.fingerprint())))
    assert again.fingerprint() == encoder.fingerprint()


def test_loss_page(tmp_path, store):
    """The doctest passes; both code blocks in a file are a method; the log has the loss term with its weight."""
    loss, method = code_of("adding-a-loss.md")
    namespace: dict[str, object] = {}
    exec(loss, namespace)
    arguments = namespace["entropy"].__doc__
    example = doctest.DocTestParser().get_doctest(arguments, namespace, "entropy", None, 0)
    assert doctest.DocTestRunner().run(example).failed == 0
    file = tmp_path / "low_entropy.py"
    file.write_text(f"{loss}\n{method}")
    arguments = ["train", store, "--method", file, "--set", "entropy_weight=0.05", "--classes-per-step", "3"]
    arguments += ["--epochs", "2", "--exemplars-per-class", "2", "--out", tmp_path / "run"]
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in arguments])
    assert end.value.code == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    terms = [line["losses"]["entropy"] for line in lines if line["step"] == 1]
    assert terms
    assert all(0 < term <= 0.05 * np.log(6) for term in terms)


def test_options_on_the_pages_exist():
    """Every --option in a page is an option of avcil."""
    from importlib import import_module

    from avcil.cli.main import COMMANDS

    known = {"--workers", "--debug", "--config", "--class"}  # the field of --class has another name
    for verb in COMMANDS:
        args = import_module(f"avcil.cli.{verb.replace('-', '_')}").Args
        known |= {f"--{name.replace('_', '-')}" for name in getattr(args, "__dataclass_fields__", {})}
    for page in HOW_TO.glob("*.md"):
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page.read_text(encoding="utf-8")))
        assert named - known == set(), page.name


def test_scikit_learn_page():
    """The example gives the printed output."""
    page = HOW_TO / "scikit-learn.md"
    example = "\n".join(code_of(page.name))
    parsed = doctest.DocTestParser().get_doctest(example, {}, page.name, str(page), 0)
    assert len(parsed.examples) > 20
    assert doctest.DocTestRunner().run(parsed).failed == 0


def test_other_libraries_page(store, tmp_path, monkeypatch):
    """The examples give the printed output for a store as described in the page."""
    pytest.importorskip("datasets")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(store, "work/features")
    page = HOW_TO / "other-libraries.md"
    example = "\n".join(code_of(page.name))
    parsed = doctest.DocTestParser().get_doctest(example, {}, page.name, str(page), 0)
    assert len(parsed.examples) > 15
    assert doctest.DocTestRunner().run(parsed).failed == 0
