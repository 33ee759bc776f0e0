"""`import avcil` provides the public API lazily, and the documentation lists the same names."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import avcil
from avcil.media import write_video

ROOT = Path(__file__).parents[1]


def test_importing_avcil_loads_no_heavy_package() -> None:
    """The import must be fast: other modules, PyTorch, NumPy and FFmpeg are imported at first use."""
    code = (
        "import sys, avcil; heavy = {'torch', 'numpy', 'av', 'matplotlib', 'tyro'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules);"
        "assert [name for name in sys.modules if name.startswith('avcil.')] == ['avcil.utils', 'avcil.utils.version'];"
        "assert 'Recognizer' in dir(avcil); avcil.InputError; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("name", [name for name in avcil.__all__ if name != "__version__"])
def test_each_public_name_is_the_object_of_its_module(name: str) -> None:
    """Also after the module that defines it was imported, which must not replace the name."""
    value = getattr(avcil, name)
    assert value is getattr(sys.modules[avcil._MODULES[name]], name)
    assert value.__module__ == avcil._MODULES[name]
    assert value.__doc__
    assert getattr(avcil, name) is value


def test_all_lists_the_names_of_the_modules() -> None:
    assert set(avcil.__all__) == {*avcil._MODULES, "__version__"}
    assert set(avcil.__all__) <= set(dir(avcil))


def test_no_public_name_is_a_submodule() -> None:
    """`import avcil.NAME` would set avcil.NAME to the module."""
    package = Path(avcil.__file__).parent
    submodules = {path.stem for path in package.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert not submodules & set(avcil._MODULES)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'avcil' has no attribute 'nothing'"):
        _ = avcil.nothing  # type: ignore[attr-defined]
    with pytest.raises(ImportError):
        from avcil import nothing  # type: ignore[attr-defined]  # noqa: F401


def test_reference_page_lists_every_public_name() -> None:
    page = (ROOT / "docs" / "reference" / "api" / "avcil.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("|")][2:]
    listed = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(listed) == sorted(avcil.__all__)


def write_clip(path: Path, number: int, take: int) -> None:
    """Half a second: one gray level and one tone for each class."""
    rng = np.random.default_rng((number, take))
    frames = [rng.integers(80 * number, 80 * number + 40, (48, 64, 3), dtype=np.uint8) for _ in range(10)]
    tone = 0.3 * np.sin(2 * np.pi * 300 * (number + 1) * np.arange(8000) / 16_000)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, frames, 20.0, waveform=tone.astype(np.float32), sample_rate=16_000)


def test_example_of_the_reference_page_runs(tmp_path: Path, monkeypatch, capsys) -> None:
    """The code is unchanged."""
    page = (ROOT / "docs" / "reference" / "api" / "avcil.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    for number, label in enumerate(("cat", "dog", "hen")):
        for take in range(5):
            write_clip(Path("clips") / label / f"{take}.mp4", number, take)
    write_clip(Path("clip.mp4"), 1, 99)
    exec(compile(code, "avcil.md", "exec"), {})
    assert capsys.readouterr().out.splitlines()[-1] == "dog"
