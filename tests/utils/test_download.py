"""Downloads from a server that disconnects, stalls, sends wrong bytes and fails: verified files or clear errors."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from download_server import CONTENT, QUICK, SHA256, leftovers

from avcil.errors import AvcilError
from avcil.utils.download import RetryPolicy, download


def test_a_file_arrives_whole_and_is_not_fetched_again(server, tmp_path):
    """The plain case: right bytes, nothing left beside them, no second request."""
    base, behavior = server
    path = download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    assert path.read_bytes() == CONTENT
    assert leftovers(tmp_path) == ["file"]
    download(f"{base}/file", path, sha256=SHA256, retry=QUICK)
    assert len(behavior.requests) == 1


def test_a_connection_that_breaks_off_goes_on_where_it_ended(server, tmp_path):
    """More breaks than attempts allow in a row are fine as long as each attempt brings something."""
    base, behavior = server
    behavior.cut_after = [90_000] * 5
    download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    ranges = [request.get("range") for request in behavior.requests]
    assert ranges == [None, *(f"bytes={90_000 * i}-" for i in range(1, 6))]
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_stalled_connection_is_given_up_and_made_anew(server, tmp_path):
    """A server that stops sending costs the stall time, not for ever."""
    base, behavior = server
    behavior.stall_after = [100_000]
    begin = time.monotonic()
    download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    assert time.monotonic() - begin < 5
    assert behavior.requests[1]["range"] == "bytes=100000-"


def test_a_connection_that_is_too_slow_is_made_anew(server, tmp_path):
    """A byte now and then is a stall too."""
    base, behavior = server
    behavior.slow = True
    download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    assert len(behavior.requests) == 2


def test_a_stopped_download_goes_on_in_the_next_run(server, tmp_path):
    """After an error the received bytes are kept, and the next call requests only the remaining ones."""
    base, behavior = server
    behavior.cut_after, behavior.statuses = [200_000], []
    with pytest.raises(AvcilError, match="200000 bytes are kept"):
        download(f"{base}/file", tmp_path / "file", retry=RetryPolicy(attempts=1, stall=0.4))
    download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    assert behavior.requests[-1]["range"] == "bytes=200000-"
    assert leftovers(tmp_path) == ["file"]


def test_a_killed_download_goes_on_in_the_next_run(server, tmp_path):
    """A process that dies without a word leaves a part that counts."""
    base, behavior = server
    behavior.stall_after = [100_000]
    code = "import sys; from avcil.utils.download import download; download(sys.argv[1], sys.argv[2])"
    process = subprocess.Popen([sys.executable, "-c", code, f"{base}/file", str(tmp_path / "file")])
    part, end = tmp_path / "file.part", time.monotonic() + 10
    while not (part.exists() and part.stat().st_size == 100_000) and time.monotonic() < end:
        time.sleep(0.02)
    process.kill()
    process.wait()
    download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    assert behavior.requests[-1]["range"] == "bytes=100000-"


def test_a_server_that_ignores_ranges_is_taken_from_the_start(server, tmp_path):
    """A 200 to a range request is the whole file: it replaces the part instead of being put behind it."""
    base, behavior = server
    behavior.cut_after, behavior.ignores_range = [200_000], True
    download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_wrong_range_is_not_stitched_in(server, tmp_path):
    """If a response starts at another byte than requested, the partial file is discarded."""
    base, behavior = server
    behavior.cut_after, behavior.wrong_range = [200_000], True
    download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_file_that_changed_on_the_server_is_fetched_anew(server, tmp_path):
    """A part of the old file is never joined to the rest of the new one, checksum known or not."""
    base, behavior = server
    behavior.cut_after = [200_000]
    with pytest.raises(AvcilError):
        download(f"{base}/file", tmp_path / "file", retry=RetryPolicy(attempts=1, stall=0.4))
    behavior.content, behavior.etag = CONTENT[::-1], '"two"'
    download(f"{base}/file", tmp_path / "file", retry=QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT[::-1]


def test_a_damaged_part_heals(server, tmp_path):
    """A part whose bytes went bad on the disk is found by the checksum and fetched again."""
    base, behavior = server
    behavior.cut_after = [200_000]
    with pytest.raises(AvcilError):
        download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=RetryPolicy(attempts=1, stall=0.4))
    (tmp_path / "file.part").write_bytes(b"z" * 200_000)
    download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_hugging_faces_checksum_is_taken_from_the_redirect(server, tmp_path):
    """The SHA-256 that Hugging Face states on its redirect guards a file nobody gave a checksum for."""
    base, behavior = server
    behavior.linked = SHA256
    download(f"{base}/redirect", tmp_path / "good", retry=QUICK)
    behavior.linked = "0" * 64
    with pytest.raises(AvcilError, match="other bytes than published"):
        download(f"{base}/redirect", tmp_path / "bad", retry=QUICK)


def test_a_download_behind_a_redirect_goes_on_too(server, tmp_path):
    """The tag on Hugging Face's redirect is not that of the store behind it: going on must not need it."""
    base, behavior = server
    behavior.linked, behavior.cut_after = SHA256, [200_000, 200_000]
    download(f"{base}/redirect", tmp_path / "file", retry=QUICK)
    asked = [request.get("range") for request in behavior.requests if request["path"] == "/file"]
    assert asked == [None, "bytes=200000-", "bytes=400000-"]


def test_the_standard_proxy_variables_are_respected(server, tmp_path, monkeypatch):
    """With HTTP_PROXY set, the request for another host goes to the proxy."""
    base, behavior = server
    monkeypatch.setenv("http_proxy", base)
    monkeypatch.setenv("no_proxy", "")
    download("http://example.invalid/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    assert behavior.requests[0]["path"] == "http://example.invalid/file"


def test_a_broken_note_beside_a_part_only_costs_the_part(server, tmp_path):
    """Notes that cannot be read, or are of another address, make the download start afresh."""
    base, _ = server
    for note in ("{", "[]", json.dumps({"url": "http://elsewhere/file", "size": 512_000})):
        (tmp_path / "file.part").write_bytes(b"q" * 1000)
        (tmp_path / "file.part.json").write_text(note)
        download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
        assert (tmp_path / "file").read_bytes() == CONTENT
        (tmp_path / "file").unlink()
