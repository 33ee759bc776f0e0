"""Inspecting stores: the output equals the content, and each kind of damage is found and named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from avcil.cli.main import main
from avcil.data.clips import Clip, write_clips
from avcil.errors import InputError
from avcil.features import FeatureSpec, FeatureStore, FeatureWriter, Manifest
from avcil.features.compare import compare
from avcil.features.show import summarize
from avcil.features.verify import verify


@pytest.fixture
def copy(store: Path, tmp_path: Path) -> Path:
    """A copy of a store that a test may damage."""
    return Path(shutil.copytree(store, tmp_path / "store"))


def small(folder: Path, *, grid: tuple[int, int] = (1, 2), width: int = 3, scale: float = 1.0) -> Path:
    """A store of two clips with equal tokens in each clip, so that means over any grid are equal."""
    manifest = Manifest(
        visual=FeatureSpec(shape=(*grid, width)), audio=FeatureSpec(shape=(4,)), dtype="float32"
    )
    with FeatureWriter(folder, manifest) as writer:
        for number in range(2):
            clip = Clip(clip_id=f"x{number}", path=Path(f"x{number}.mp4"), label="a", split="train")
            token = scale * np.arange(1 + number, 1 + number + width)
            writer.add(clip, visual=np.broadcast_to(token, (*grid, width)), audio=scale * np.arange(4.0))
    return folder


def one_shard(store: Path) -> Path:
    return sorted((store / "shards").glob("*.safetensors"))[0]


def test_counts_equal_those_of_the_store(store: Path) -> None:
    found = summarize(store)
    assert found.counts["c0"] == {"train": 8, "val": 3, "test": 4}
    assert found.to_dict()["clips"] == 90
    assert "total" in found.text()
    assert found.fingerprint == FeatureStore(store).fingerprint


def test_notes_on_files_of_stored_clips(tmp_path: Path) -> None:
    """The store contains the notes of the report, and its fingerprint does not depend on them."""
    fingerprints = []
    for remark in ("", "the video track ends at 3.20 s of 10.00 s"):
        folder = tmp_path / f"store{len(fingerprints)}"
        with FeatureWriter(folder, Manifest(audio=FeatureSpec(shape=(4,)))) as writer:
            clip = Clip(clip_id="x", path=Path("x.mp4"), label="a", split="train")
            writer.add(clip, audio=np.arange(4.0), remark=remark)
        found = summarize(folder)
        assert found.to_dict()["remarks"] == ({remark: 1} if remark else {})
        assert ("track ends at 3.20 s of 10.00 s (such as 'x')" in found.text()) == bool(remark)
        fingerprints.append(found.fingerprint)
    assert len(set(fingerprints)) == 1


def test_written_store_is_intact(store: Path) -> None:
    found = verify(store)
    assert found.is_intact
    assert found.problems == ()
    assert found.clips == 90


def test_changed_byte_is_reported_with_shard_and_clip(copy: Path) -> None:
    shard = one_shard(copy)
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    found = verify(copy)
    assert not found.is_intact
    whats = {problem.what: problem.where for problem in found.problems}
    assert whats["shards whose content changed after they were written"] == (shard.name,)
    assert len(whats["clips whose numbers changed after they were written"]) == 1


def test_lost_and_truncated_shards_are_distinguished(copy: Path) -> None:
    first, second = sorted((copy / "shards").glob("*.safetensors"))[:2]
    first.unlink()
    second.write_bytes(second.read_bytes()[:-7])
    found = verify(copy)
    whats = {problem.what for problem in found.problems}
    assert whats == {"shards missing", "shards with another length than when written"}
    assert "delete" not in found.text(), "avcil extract replaces such shards by itself"


def test_unknown_file_in_the_shard_folder_is_noted(copy: Path) -> None:
    (copy / "shards" / "stray.safetensors").write_bytes(b"x")
    found = verify(copy)
    assert found.is_intact
    assert found.problems[0].where == ("stray.safetensors",)


def test_equal_features_are_noted(tmp_path: Path) -> None:
    manifest = Manifest(audio=FeatureSpec(shape=(4,)))
    with FeatureWriter(tmp_path / "s", manifest) as writer:
        clip = Clip(clip_id="silent", path=Path("silent.mp4"), label="a", split="train")
        writer.add(clip, audio=np.zeros(4))
    (problem,) = verify(tmp_path / "s").problems
    assert (problem.kind, problem.where, problem.is_error) == ("constant", ("silent",), False)


def test_coverage_of_a_clip_list(store: Path) -> None:
    clips = [
        Clip(clip_id=clip.clip_id, path=Path(clip.path), label=clip.label, split=clip.split)
        for clip in FeatureStore(store).clips[1:]
    ]
    clips[0] = Clip(clip_id=clips[0].clip_id, path=clips[0].path, label="other", split=clips[0].split)
    clips.append(Clip(clip_id="never", path=Path("never.mp4"), label="c0", split="train"))
    found = {problem.kind: problem for problem in verify(store, clips).problems}
    assert found["coverage"].where == ("never",)
    assert found["changed"].where == (clips[0].clip_id,)
    assert len(found["extra"].where) == 1
    assert not found["extra"].is_error


def test_cosine_with_the_same_store_is_one(store: Path) -> None:
    found = compare(store, store)
    for values in found.cosines.values():
        np.testing.assert_allclose(values, 1.0, atol=1e-12)
    assert found.largest_difference == {"visual": 0.0, "audio": 0.0}


def test_cosine_ignores_scale_and_grids_are_pooled(tmp_path: Path) -> None:
    a = small(tmp_path / "a")
    b = small(tmp_path / "b", grid=(2, 5), scale=3.0)
    found = compare(a, b)
    assert found.pooled == ("visual",)
    np.testing.assert_allclose(found.cosines["visual"], 1.0, atol=1e-6)
    assert "the grids differ" in found.text()


def test_different_widths_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"width 3.* 5"):
        compare(small(tmp_path / "a"), small(tmp_path / "b", width=5))


def test_stores_without_common_clips_are_rejected(store: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="share no clip id"):
        compare(small(tmp_path / "a"), store)


def test_features_commands(
    store: Path, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*words: object) -> int:
        with pytest.raises(SystemExit) as stop:
            main(["features", *map(str, words)])
        return stop.value.code

    assert run("show", store, "--json") == 0
    assert json.loads(capsys.readouterr().out)["clips"] == 90
    assert run("compare", store, copy, "--out", tmp_path / "cosines.csv") == 0
    assert (tmp_path / "cosines.csv").read_text().startswith("clip_id,visual,audio\nc0/test/0,1.000000000,")
    clips = [Clip(clip_id="c0/test/0", path=Path("c.mp4"), label="c0", split="test")]
    write_clips(tmp_path / "clips.csv", clips)
    assert run("verify", store, "--clips", tmp_path / "clips.csv") == 0
    one_shard(copy).unlink()
    capsys.readouterr()
    assert run("verify", copy) == 1
    assert "NOT intact" in capsys.readouterr().out
