"""Writing files: whole or not at all, and plain words for a disk that refuses."""

import contextlib
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from avcil.errors import InputError
from avcil.utils import files


def test_a_failed_write_leaves_the_old_file_and_no_part(tmp_path):
    """An error while writing must not cost what was there."""
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})

    def fail(file):
        file.write(b"half")
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        files.write_atomically(path, fail)
    assert json.loads(path.read_text()) == {"a": 1}
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize(
    ("number", "message"),
    [(errno.ENOSPC, "no space left"), (errno.EDQUOT, "no space left"), (errno.EROFS, "cannot write")],
)
def test_disk_errors_have_clear_messages(tmp_path, monkeypatch, number, message):
    """A full or read-only disk is something a person can mend: exit code 2, and what to do."""

    def refuse(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(InputError, match=message) as caught:
        files.write_text(tmp_path / "a.txt", "text")
    assert caught.value.exit_code == 2
    assert not any(tmp_path.iterdir())


def test_json_refuses_nan_and_names_a_broken_file(tmp_path):
    """NaN is not JSON; a file that is not JSON is named with the place."""
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "a.json", {"a": float("nan")})
    (tmp_path / "b.json").write_text('{"a": ')
    with pytest.raises(InputError, match=r"b\.json is not valid JSON"):
        files.read_json(tmp_path / "b.json")
    with pytest.raises(InputError, match="no file"):
        files.read_json(tmp_path / "c.json")


def test_a_folder_is_held_by_one_process(tmp_path):
    """Two runs must not write one folder; the second gets an error at once."""
    code = (
        "import sys; from pathlib import Path; from avcil.errors import InputError\n"
        "from avcil.utils.files import folder_lock\n"
        "try:\n    with folder_lock(Path(sys.argv[1]), 'training'): sys.exit(0)\n"
        "except InputError as error:\n    print(error); sys.exit(2)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with files.folder_lock(tmp_path, "training"):
        held = subprocess.run(command, capture_output=True, text=True, check=False)
    free = subprocess.run(command, check=False)
    assert (held.returncode, free.returncode) == (2, 0)
    assert "another process is training" in held.stdout


def test_an_error_leaves_no_new_folder(tmp_path):
    """A new folder in which nothing was written is removed; others stay."""
    for folder, file in ((tmp_path / "new", None), (tmp_path / "used", "model")):
        with contextlib.suppress(InputError), files.folder_lock(folder, "learning"):
            if file:
                (folder / file).touch()
            raise InputError("no clip can be learned")
    with contextlib.suppress(InputError), files.folder_lock(tmp_path / "used", "learning"):
        raise InputError("no clip can be learned")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["used"]


def test_a_message_without_its_path():
    """Lists that name the file need the reason alone."""
    path = Path("clips/a.mp4")
    for message in ("clips/a.mp4: no sound", "no sound", "no sound clips/a.mp4", "clips/a.mp4 no sound"):
        assert files.without_path(InputError(message), path) == "no sound"


WRITE_AND_WAIT = """
import sys, time
from pathlib import Path
from avcil.utils.files import write_atomically
def write(file):
    file.write(b"begun")
    file.flush()
    print("writing", flush=True)
    time.sleep(60)
write_atomically(Path(sys.argv[1]), write)
"""


def test_what_a_killed_writer_left_is_removed(tmp_path):
    """At the next write into the folder; not what is being written, nor files under other names."""
    commands = [[sys.executable, "-c", WRITE_AND_WAIT, str(tmp_path / name)] for name in ("a.onnx", "b.onnx")]
    killed, alive = (subprocess.Popen(command, stdout=subprocess.PIPE) for command in commands)
    try:
        for process in (killed, alive):
            assert process.stdout is not None
            process.stdout.readline()
        killed.kill()
        killed.wait()
        for name in (".notes.part", "a.onnx.1.part", ".a.1.part.txt"):
            (tmp_path / name).write_text("a user's own")
        (tmp_path / ".link.1.part").symlink_to(tmp_path / ".notes.part")
        files.write_text(tmp_path / "c.txt", "new")
        left = {entry.name for entry in tmp_path.iterdir()}
        assert left == {
            ".notes.part",
            "a.onnx.1.part",
            ".a.1.part.txt",
            ".link.1.part",
            f".b.onnx.{alive.pid}.part",
            "c.txt",
        }
    finally:
        alive.kill()
        for process in (killed, alive):
            process.communicate()


def test_a_target_that_cannot_be_a_folder(tmp_path):
    """The error names the target and what to do, also where its folder cannot be made."""
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a file exists where a folder is needed"):
        files.write_text(tmp_path / "file" / "below" / "a.txt", "text")


def test_a_pipe_or_device_is_not_replaced(tmp_path):
    """Such as --out /dev/full as root: renaming a file into its place would remove the device."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path / "link"):
        if path != pipe:
            path.symlink_to(pipe)
        with pytest.raises(InputError, match="is a device, pipe or socket"):
            files.write_text(path, "text")
    assert pipe.is_fifo()
    assert (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe"]
