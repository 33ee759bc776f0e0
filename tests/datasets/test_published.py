"""Published benchmarks: numbers of clips, steps, shared videos, and download of their split files."""

from __future__ import annotations

import dataclasses
import functools
import http.server
import threading
from pathlib import Path

import numpy as np
import pytest

from avcil.cli import benchmark as verb
from avcil.datasets.benchmark import Benchmark
from avcil.datasets.card import card, overview
from avcil.datasets.fetch import cache_folder, fetch_splits, find_splits
from avcil.datasets.protocols import AVE, PROTOCOLS, SPLIT_FILES, protocol
from avcil.datasets.published import load_published, published
from avcil.datasets.split_files import SplitClip, Splits
from avcil.errors import AvcilError, InputError
from avcil.utils.download import RetryPolicy, file_sha256

RELEASED = Path(__file__).resolve().parents[2] / ".." / "shared" / "upstream-splits"
needs_released = pytest.mark.skipif(not RELEASED.exists(), reason="the released split files are not here")


@pytest.fixture(scope="module")
def released():
    return functools.cache(lambda name: load_published(name, copy=RELEASED))


@needs_released
@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_released_files_give_the_published_benchmark(released, name):
    """Classes, steps, clips of every split and their classes equal those of the paper."""
    benchmark, plan = released(name), protocol(name)
    steps = benchmark.steps()
    assert isinstance(steps, Benchmark)
    assert [len(step) for step in steps.steps] == [plan.classes_per_step] * plan.steps
    assert steps.classes == benchmark.classes
    counts = benchmark.counts()
    for split, total in plan.clips.items():
        assert sum(of_class[split] for of_class in counts.values()) == total
        assert min(of_class[split] for of_class in counts.values()) > 0


@needs_released
def test_leak_of_vggsound(released):
    """1,627 test and 1,671 validation clips share a video with a training clip; leak-free has none."""
    assert released("vs100-ci").leak() == {"val": 1671, "test": 1627}
    clean = released("vs100-ci-leak-free")
    assert clean.leak() == {"val": 0, "test": 0}
    assert clean.removed == {"val": 1671, "test": 1627}
    assert clean.classes == released("vs100-ci").classes
    assert released("ave-ci").leak() == released("ks-ci").leak() == {"val": 0, "test": 0}


@needs_released
def test_irregular_released_names_are_kept(released):
    """Ids that begin with "-", the truncated class name, and the first classes of each benchmark."""
    assert "subway, metr" in released("vs100-ci").classes
    dashed = {
        name: sum(i.startswith("-") for i in released(name).clips) for name in ("ave-ci", "ks-ci", "vs100-ci")
    }
    assert dashed == {"ave-ci": 1008, "ks-ci": 347, "vs100-ci": 1202}
    assert released("ave-ci").steps().steps[0][:2] == ("Acoustic guitar", "Cat")
    assert released("ks-ci").classes[:2] == ("playing drums", "bowling")


@needs_released
def test_benchmark_card(released):
    """The card has every class with its counts, the memory size, the epochs and the leak."""
    text = card(released("vs100-ci"))
    assert "1627 of 5000 test and 1671 of 5000 validation" in text
    assert "1500 exemplars" in text
    assert all(label in text for label in released("vs100-ci").classes)
    assert "1627 test and 1671 validation clips of the release are left out" in card(
        released("vs100-ci-leak-free")
    )
    assert all(len(line) <= 110 for line in text.splitlines())


def small(leaky: bool = False) -> Splits:
    """Three classes with two clips per class and split; if leaky, one test clip shares a training video."""
    clips = {}
    for label in ("Cat", "Dog", "Bell"):
        for split in ("train", "val", "test"):
            for i in range(2):
                video = f"{label}{split}"[:10].ljust(10, "_") + str(i)
                clips[f"{video}_000010"] = SplitClip(label, split)
    if leaky:
        clips["Cattrain__0_000020"] = SplitClip("Cat", "test")
    return Splits(classes=("Cat", "Dog", "Bell"), clips=clips)


SMALL = dataclasses.replace(AVE, classes=3, classes_per_step=2, clips={"train": 6, "val": 6, "test": 6})


def test_other_step_sizes_and_orders():
    """The last step has the remaining classes; the class order depends on its own seed."""
    benchmark = published(SMALL, small())
    assert benchmark.steps().steps == (("Cat", "Dog"), ("Bell",))
    assert benchmark.steps(1).steps == (("Cat",), ("Dog",), ("Bell",))
    orders = {benchmark.steps(3, seed).steps for seed in range(20)}
    assert len(orders) > 3
    assert benchmark.steps(2, 5) == benchmark.steps(2, 5)
    assert benchmark.steps(2, 5).class_order_seed == 5
    for size, seed in ((0, None), (4, None), (2, -1)):
        with pytest.raises(InputError, match="--class"):
            benchmark.steps(size, seed)


def test_leak_free_removes_shared_videos():
    """Only validation and test clips of a training video (first eleven characters) are removed."""
    clean = published(dataclasses.replace(SMALL, leak_free=True), small(leaky=True))
    assert clean.removed == {"val": 0, "test": 1}
    assert "Cattrain__0_000010" in clean.clips
    assert "Cattrain__0_000020" not in clean.clips


def test_files_of_another_benchmark_are_rejected():
    """Counts that differ from the published ones are an error."""
    with pytest.raises(InputError, match="published are 28 classes"):
        published(AVE, small())


def test_unknown_name_gets_a_suggestion():
    """The error has the most similar name."""
    with pytest.raises(InputError, match="did you mean ave-ci"):
        protocol("ave")


@pytest.fixture
def copy_of_release(tmp_path):
    """A synthetic release in the release's folders, and a protocol with its checksums."""
    folder = tmp_path / "release" / "data" / "AVE"
    folder.mkdir(parents=True)
    for number, name in enumerate(SPLIT_FILES):
        np.save(folder / name, {"number": number}, allow_pickle=True)
    sums = {name: file_sha256(folder / name) for name in SPLIT_FILES}
    return tmp_path / "release", dataclasses.replace(AVE, sha256=sums)


@pytest.mark.parametrize("inside", [".", "data", "data/AVE"])
def test_split_files_from_a_copy(copy_of_release, tmp_path, inside):
    """The release's folder, its data folder, and the folder with the files are all accepted."""
    release, plan = copy_of_release
    folder = fetch_splits(plan, copy=release / inside, cache=tmp_path / "cache")
    assert sorted(path.name for path in folder.iterdir()) == sorted(SPLIT_FILES)
    assert find_splits(plan, cache=tmp_path / "cache") == folder
    leak_free = dataclasses.replace(plan, name=f"{plan.name}-leak-free")
    assert find_splits(leak_free, cache=tmp_path / "cache") == folder


def test_changed_copy_is_rejected(copy_of_release, tmp_path):
    """The checksum of the file differs."""
    release, plan = copy_of_release
    (release / "data" / "AVE" / SPLIT_FILES[1]).write_bytes(b"changed")
    with pytest.raises(InputError, match="is not the released file"):
        fetch_splits(plan, copy=release, cache=tmp_path / "cache")
    with pytest.raises(InputError, match="no split files of ave-ci in"):
        fetch_splits(plan, copy=tmp_path / "nowhere", cache=tmp_path / "cache")


def test_missing_split_files(tmp_path):
    """The error names the command for the download; nothing is downloaded automatically."""
    with pytest.raises(InputError, match="avcil benchmark fetch ave-ci --from DIR"):
        find_splits(AVE, cache=tmp_path)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_split_files_are_downloaded_once_and_checked(copy_of_release, tmp_path):
    """They are downloaded once from a server with the release's folders; a damaged file is downloaded again."""
    release, plan = copy_of_release
    handler = functools.partial(Quiet, directory=release)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/data"
        folder = fetch_splits(plan, cache=tmp_path / "cache", base_url=url)
        (folder / SPLIT_FILES[0]).write_bytes(b"damaged")
        with pytest.raises(InputError, match="is not the released file"):
            find_splits(plan, cache=tmp_path / "cache")
        fetch_splits(plan, cache=tmp_path / "cache", base_url=url)
        server.shutdown()
        thread.join()
    quick = RetryPolicy(attempts=1)
    assert fetch_splits(plan, cache=tmp_path / "cache", base_url=url, retry=quick) == folder
    with pytest.raises(AvcilError, match="avcil benchmark fetch ave-ci --from DIR"):
        fetch_splits(plan, cache=tmp_path / "empty", base_url=url, retry=quick)


def test_cache_folder_variables(monkeypatch, tmp_path):
    """AVCIL_CACHE has priority, then XDG_CACHE_HOME, then the home folder."""
    monkeypatch.setenv("AVCIL_CACHE", str(tmp_path / "a"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache_folder() == tmp_path / "a"
    monkeypatch.delenv("AVCIL_CACHE")
    assert cache_folder() == tmp_path / "b" / "avcil"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "avcil"


def test_list_of_benchmarks():
    """The list requires no split files."""
    assert all(name in overview() for name in PROTOCOLS)


@needs_released
def test_benchmark_command(tmp_path, monkeypatch, capsys):
    """`avcil benchmark` from the download to the list, with a copy of the release."""
    tyro = pytest.importorskip("tyro")
    monkeypatch.setenv("AVCIL_CACHE", str(tmp_path))
    for arguments in (
        ["list"],
        ["fetch", "ave-ci", "--from", str(RELEASED)],
        ["show", "ave-ci", "--classes-per-step", "14"],
    ):
        verb.run(tyro.cli(verb.Args, args=arguments))
    assert "AVE-CI" in capsys.readouterr().out
    with pytest.raises(InputError, match="avcil benchmark fetch ks-ci"):
        verb.run(tyro.cli(verb.Args, args=["show", "ks-ci"]))
