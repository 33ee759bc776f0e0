"""Released files that are damaged, malicious or expand too much are rejected, and leave no files behind."""

from __future__ import annotations

import os
import pickle
import zipfile

import numpy as np
import pytest
import released_files as files
from released_stores import FEW, npy_files, some

from avcil.datasets.released.import_features import import_features
from avcil.errors import InputError

pytest.importorskip("h5py")


def test_pickled_code_is_rejected_and_not_run(tmp_path, audio):
    """The error names the function that the pickle of visual features would call; it is not called."""

    class Attack:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    content = {
        files.AUDIO_PATH: files.npy_bytes(some(audio)),
        files.VISUAL_PATH: pickle.dumps({FEW[0]: np.zeros((1568, 768), np.float32), FEW[1]: Attack()}, 4),
    }
    with pytest.raises(InputError, match=r"builtins\.exec.*Nothing of it was run"):
        import_features(files.unpacked(tmp_path / "s", content), tmp_path / "store", files.benchmark_of(FEW))
    assert not (tmp_path / "ran").exists()


def test_h5_references_to_other_files_are_rejected(tmp_path, audio, visual):
    """Links and external data could read files that the user did not select."""
    import h5py

    (tmp_path / "secret").write_bytes(bytes(1568 * 768 * 4))

    def external(h5):
        h5.create_dataset(FEW[0], (1568, 768), "f4", external=[(str(tmp_path / "secret"), 0, 1568 * 768 * 4)])

    def soft_link(h5):
        h5[FEW[0]] = h5py.SoftLink("/elsewhere")

    def external_link(h5):
        h5[FEW[0]] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/x")

    def group(h5):
        h5.create_group(FEW[0])

    def virtual(h5):
        layout = h5py.VirtualLayout((1568, 768), "f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (1568, 768))
        h5.create_virtual_dataset(FEW[0], layout)

    for fill in (external, soft_link, external_link, group, virtual):
        source = files.unpacked(tmp_path / fill.__name__, {files.AUDIO_PATH: files.npy_bytes(some(audio))})
        path = source / files.H5_PATH
        path.parent.mkdir(parents=True)
        with h5py.File(path, "w") as h5:
            fill(h5)
        with pytest.raises(InputError, match=r"not allowed|not an array"):
            import_features(source, tmp_path / f"store {fill.__name__}", files.benchmark_of(FEW))


@pytest.mark.parametrize("form", ["npy", "h5"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_corrupt_archive_is_detected_before_storing(tmp_path, audio, visual, form, method):
    """The checksum of the archive detects one changed bit in the visual data, and the store has no clip."""
    ids = FEW[:2]
    content = {files.AUDIO_PATH: files.npy_bytes(some(audio, ids))}
    if form == "npy":
        content[files.VISUAL_PATH] = files.npy_bytes(some(visual, ids))
    else:
        content[files.H5_PATH] = files.h5_bytes(some(visual, ids))
    path = files.zipped(tmp_path / "AVE_features.zip", content, method)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(InputError, match="damaged"):
        import_features(path, tmp_path / "store", files.benchmark_of(ids))
    assert not (tmp_path / "store" / "index.jsonl").read_bytes()
    assert not list((tmp_path / "store").glob(".unpacked*"))


def test_unchanged_archive_is_checked_once(tmp_path, audio, visual, monkeypatch):
    """A second import of the same archive skips the check; a changed modification time repeats it."""
    import avcil.datasets.released.import_features as module

    checked = []
    monkeypatch.setattr(module, "check_archive", lambda member: checked.append(member.name))
    content = npy_files(some(audio, FEW[:1]), some(visual, FEW[:1]))
    path, benchmark = files.zipped(tmp_path / "AVE_features.zip", content), files.benchmark_of(FEW[:1])
    import_features(path, tmp_path / "store", benchmark)
    import_features(path, tmp_path / "store", benchmark)
    assert len(checked) == 2  # the audio and the visual file, once each
    os.utime(path, (1, 1))
    import_features(path, tmp_path / "store", benchmark)
    assert len(checked) == 4
    import_features(path, tmp_path / "other", benchmark, check=False)
    assert len(checked) == 4


def bomb(path, content=bytes(40 << 20)):
    """An archive of zeros with a compression ratio of about 1000."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(files.AUDIO_PATH, files.npy_bytes(files.audio_of(FEW[:2])))
        archive.writestr(files.H5_PATH, content)
    return path


def test_archive_with_high_compression_ratio(tmp_path):
    """The archive is rejected before it is unpacked."""
    with pytest.raises(InputError, match=r"expand from .* more than 100 times"):
        import_features(bomb(tmp_path / "bomb.zip"), tmp_path / "store", files.benchmark_of(FEW[:2]))
    assert not list(tmp_path.rglob(".unpacked*"))


def test_unpacked_files_of_a_rejected_archive_are_removed(tmp_path):
    """The unpacked file can have hundreds of megabytes."""
    archive = bomb(tmp_path / "a.zip", np.random.default_rng(0).bytes(1 << 20))
    with pytest.raises(InputError, match="damaged"):
        import_features(archive, tmp_path / "store", files.benchmark_of(FEW[:2]))
    assert not list(tmp_path.rglob(".unpacked*"))


def test_archive_that_is_a_named_pipe(tmp_path):
    """It is rejected, because opening a pipe without a writer blocks."""
    os.mkfifo(tmp_path / "AVE_features.zip")
    with pytest.raises(InputError, match="a named pipe"):
        import_features(tmp_path / "AVE_features.zip", tmp_path / "store", files.benchmark_of(FEW[:2]))
