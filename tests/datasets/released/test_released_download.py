"""Download of the authors' archives in parts, and import from them."""

from __future__ import annotations

import dataclasses
import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from avcil.datasets.protocols import KINETICS_SOUNDS
from avcil.datasets.released.download import download_features, features_folder
from avcil.errors import InputError
from avcil.utils.download import RetryPolicy


class Quiet(http.server.SimpleHTTPRequestHandler):
    asked: list[str]

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.asked.append(self.path)
        super().do_GET()


@pytest.fixture
def mirror(tmp_path) -> Iterator[tuple[str, Path, list[str]]]:
    """URL of a local server, its folder, and the requested paths."""
    folder, asked = tmp_path / "mirror", []
    folder.mkdir()
    handler = functools.partial(type("H", (Quiet,), {"asked": asked}), directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder, asked
        server.shutdown()
        thread.join()


QUICK = RetryPolicy(attempts=2, first_wait=0.01, stall=2)


def test_all_parts_are_downloaded_once(mirror, tmp_path):
    """Parts are stored under their names; a second call sends no request."""
    base, folder, asked = mirror
    for number, part in enumerate(KINETICS_SOUNDS.feature_parts):
        (folder / part).write_bytes(bytes([number]) * 1000)
    target = download_features(KINETICS_SOUNDS, tmp_path / "parts", base_url=base, retry=QUICK)
    assert [(target / part).read_bytes()[0] for part in KINETICS_SOUNDS.feature_parts] == [0, 1, 2]
    download_features(KINETICS_SOUNDS, tmp_path / "parts", base_url=base, retry=QUICK)
    assert asked == [f"/{part}" for part in KINETICS_SOUNDS.feature_parts]


def test_hf_endpoint_replaces_the_host(mirror, tmp_path, monkeypatch):
    """HF_ENDPOINT replaces only the host; the path of the data set and its parts is unchanged."""
    base, _, asked = mirror
    monkeypatch.setenv("HF_ENDPOINT", base + "/")
    with pytest.raises(InputError, match=r"404"):
        download_features(KINETICS_SOUNDS, tmp_path / "parts", retry=QUICK)
    assert asked == ["/datasets/wiberg/AV-CIL_features/resolve/main/KS_features.zip.aa"]


def test_leak_free_benchmark_uses_the_same_archives(tmp_path):
    """295 GB are not downloaded twice."""
    leak_free = dataclasses.replace(KINETICS_SOUNDS, name=f"{KINETICS_SOUNDS.name}-leak-free")
    assert features_folder(leak_free, tmp_path) == features_folder(KINETICS_SOUNDS, tmp_path)


def test_download_and_import_in_one_command(mirror, tmp_path, monkeypatch, capsys):
    """`avcil import-features --download` with a mirror and a folder of split files creates a store."""
    pytest.importorskip("h5py")
    import released_files as files

    import avcil.datasets.published as published_module
    from avcil.cli import import_features as verb
    from avcil.features import FeatureStore

    base, folder, _ = mirror
    ids = files.clip_ids(3)
    content = {
        files.AUDIO_PATH: files.npy_bytes(files.audio_of(ids)),
        files.VISUAL_PATH: files.npy_bytes(files.visual_of(ids)),
    }
    files.zipped(folder / "AVE_features.zip", content)
    monkeypatch.setattr(published_module, "load_published", lambda name, copy: files.benchmark_of(ids))
    args = verb.Args(
        benchmark="ave-ci",
        out=tmp_path / "store",
        download=True,
        download_to=tmp_path / "parts",
        base_url=base,
        splits=tmp_path,
        grid="8x1x1",
    )
    verb.run(args)
    assert "3 clips in the store" in capsys.readouterr().out
    assert FeatureStore(tmp_path / "store").visual_shape == (8, 1, 768)
