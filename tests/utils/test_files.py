"""Files are written completely or not at all; disk errors have clear messages."""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from avcil.errors import InputError
from avcil.utils import files


def test_failed_write_keeps_the_old_file(tmp_path):
    """An error while writing neither changes the old file nor leaves a temporary file."""
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
    [
        (errno.ENOSPC, "no space left on the disk while .* free some space"),
        (errno.EDQUOT, "no space left in the disk quota while .* free some space"),
        (errno.EFBIG, "the file size limit .* is reached while .* raise the limit"),
        (errno.EROFS, "cannot write"),
    ],
)
def test_disk_errors_have_clear_messages(tmp_path, monkeypatch, number, message):
    """A full or read-only disk is an error with exit code 2 and advice."""

    def refuse(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(InputError, match=message) as caught:
        files.write_text(tmp_path / "a.txt", "text")
    assert caught.value.exit_code == 2
    assert not any(tmp_path.iterdir())


def test_folder_in_the_place_of_a_file_is_an_error(tmp_path):
    """A mistake of the user, such as --out FOLDER, is not an internal error; the folder is kept."""
    with pytest.raises(InputError, match="is a folder, but a file is to be written"):
        files.write_text(tmp_path, "text")
    assert not any(tmp_path.iterdir())
    assert not list(tmp_path.parent.glob("*.part"))


def test_invalid_json_is_an_error(tmp_path):
    """NaN is not written; the error for an invalid file has its path and position."""
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "a.json", {"a": float("nan")})
    (tmp_path / "b.json").write_text('{"a": ')
    with pytest.raises(InputError, match=r"b\.json is not valid JSON"):
        files.read_json(tmp_path / "b.json")
    with pytest.raises(InputError, match="no file"):
        files.read_json(tmp_path / "c.json")


def test_folder_is_locked_by_one_process(tmp_path):
    """Two runs must not write to one folder: the second one gets an error at once."""
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


def test_error_removes_a_new_empty_folder(tmp_path):
    """A new folder without files is removed; existing folders and folders with files are kept."""
    for folder, file in ((tmp_path / "new", None), (tmp_path / "used", "model")):
        with contextlib.suppress(InputError), files.folder_lock(folder, "learning"):
            if file:
                (folder / file).touch()
            raise InputError("no clip can be learned")
    with contextlib.suppress(InputError), files.folder_lock(tmp_path / "used", "learning"):
        raise InputError("no clip can be learned")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["used"]


def test_error_in_a_removed_folder(tmp_path):
    """The error is raised, not that the folder is missing."""
    lock = files.folder_lock(tmp_path / "new", "learning")
    lock.__enter__()
    shutil.rmtree(tmp_path / "new")
    error = InputError("no clip can be learned")
    assert not lock.__exit__(InputError, error, None)


def test_lock_of_a_removed_file_does_not_count(tmp_path, monkeypatch):
    """A file that its process removes before it is locked excludes no other process."""
    lock = fcntl.flock

    def removed_first(file, operation):
        shutil.rmtree(tmp_path / "new")
        lock(file, operation)

    monkeypatch.setattr(files.fcntl, "flock", removed_first)
    with (
        pytest.raises(InputError, match="another process is learning"),
        files.folder_lock(tmp_path / "new", "learning"),
    ):
        pass


def test_error_message_without_path():
    """Lists of files show the path themselves and need only the reason."""
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


def test_files_of_killed_writers_are_removed(tmp_path):
    """The next write removes them, but not files being written and not files with other names."""
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


def test_invalid_target_folder(tmp_path):
    """The error names the target and what to do, also if its parent folder cannot be created."""
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a file exists where a folder is needed"):
        files.write_text(tmp_path / "file" / "below" / "a.txt", "text")


def test_pipe_or_device_is_not_replaced(tmp_path):
    """Renaming a file to, for example, /dev/full as root would remove the device."""
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
