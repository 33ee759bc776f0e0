"""Downloads are resumed, retried and verified when the server disconnects, stalls or sends wrong bytes."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from download_server import CONTENT, QUICK, SHA256, leftovers

from avcil.errors import AvcilError
from avcil.utils.download import RetryPolicy, download


def test_existing_file_is_not_downloaded_again(server, tmp_path):
    """The file has the expected bytes, no temporary file is left, and a second call sends no request."""
    base, behavior = server
    path = download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    assert path.read_bytes() == CONTENT
    assert leftovers(tmp_path) == ["file"]
    download(f"{base}/file", path, sha256=SHA256, retry=QUICK)
    assert len(behavior.requests) == 1


def test_broken_connection_resumes(server, tmp_path):
    """An attempt that receives data resets the count of failures, so five disconnections are allowed here."""
    base, behavior = server
    behavior.cut_after = [90_000] * 5
    download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    ranges = [request.get("range") for request in behavior.requests]
    assert ranges == [None, *(f"bytes={90_000 * i}-" for i in range(1, 6))]
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_stalled_connection_is_replaced(server, tmp_path):
    """After `stall` seconds without data the client reconnects although the first connection is open."""
    base, behavior = server
    behavior.stall_after = [100_000]
    download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    assert behavior.requests[1]["while_stalled"]
    assert behavior.requests[1]["range"] == "bytes=100000-"


def test_slow_connection_is_replaced(server, tmp_path):
    """Single bytes at long intervals count as a stall."""
    base, behavior = server
    behavior.slow = True
    download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    assert len(behavior.requests) == 2


def test_failed_download_resumes_in_next_call(server, tmp_path):
    """After an error the received bytes are kept, and the next call requests only the remaining ones."""
    base, behavior = server
    behavior.cut_after, behavior.statuses = [200_000], []
    with pytest.raises(AvcilError, match="200000 bytes are kept"):
        download(f"{base}/file", tmp_path / "file", retry=RetryPolicy(attempts=1, stall=0.4))
    download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    assert behavior.requests[-1]["range"] == "bytes=200000-"
    assert leftovers(tmp_path) == ["file"]


def test_killed_download_resumes_in_next_call(server, tmp_path):
    """The partial file of a killed process is resumed by another process."""
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


def test_server_without_ranges_restarts_the_download(server, tmp_path):
    """A response 200 to a range request has the complete file: it replaces the partial file."""
    base, behavior = server
    behavior.cut_after, behavior.ignores_range = [200_000], True
    download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_wrong_range_discards_partial_file(server, tmp_path):
    """If a response starts at another byte than requested, the partial file is discarded."""
    base, behavior = server
    behavior.cut_after, behavior.wrong_range = [200_000], True
    download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_resume_without_checksum(server, tmp_path):
    """Length and ETag suffice: the rest is requested with If-Range, and the file is complete."""
    base, behavior = server
    behavior.cut_after = [200_000]
    with pytest.raises(AvcilError, match="200000 bytes are kept"):
        download(f"{base}/file", tmp_path / "file", retry=RetryPolicy(attempts=1, stall=0.4))
    download(f"{base}/file", tmp_path / "file", retry=QUICK)
    assert len(behavior.requests) == 2
    assert behavior.requests[1]["range"] == "bytes=200000-"
    assert behavior.requests[1]["if-range"] == '"one"'
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert leftovers(tmp_path) == ["file"]


def test_changed_file_is_downloaded_again(server, tmp_path):
    """Without a checksum, a changed ETag discards the partial file: old and new bytes are never joined."""
    base, behavior = server
    behavior.cut_after = [200_000]
    with pytest.raises(AvcilError):
        download(f"{base}/file", tmp_path / "file", retry=RetryPolicy(attempts=1, stall=0.4))
    behavior.content, behavior.etag = CONTENT[::-1], '"two"'
    download(f"{base}/file", tmp_path / "file", retry=QUICK)
    assert behavior.requests[1]["if-range"] == '"one"'
    assert (tmp_path / "file").read_bytes() == CONTENT[::-1]
    assert leftovers(tmp_path) == ["file"]


def test_damaged_part_is_downloaded_again(server, tmp_path):
    """The checksum detects changed bytes in the partial file; the whole file is then downloaded again."""
    base, behavior = server
    behavior.cut_after = [200_000]
    with pytest.raises(AvcilError):
        download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=RetryPolicy(attempts=1, stall=0.4))
    (tmp_path / "file.part").write_bytes(b"z" * 200_000)
    download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_checksum_of_hugging_face_redirect_is_used(server, tmp_path):
    """If the caller gives no checksum, the SHA-256 in the header X-Linked-ETag of the redirect is checked."""
    base, behavior = server
    behavior.linked = SHA256
    download(f"{base}/redirect", tmp_path / "good", retry=QUICK)
    behavior.linked = "0" * 64
    with pytest.raises(AvcilError, match="other bytes than published"):
        download(f"{base}/redirect", tmp_path / "bad", retry=QUICK)


def test_redirected_download_resumes(server, tmp_path):
    """The ETag of the redirect differs from that of the storage server; resuming must not compare the two."""
    base, behavior = server
    behavior.linked, behavior.cut_after = SHA256, [200_000, 200_000]
    download(f"{base}/redirect", tmp_path / "file", retry=QUICK)
    asked = [request.get("range") for request in behavior.requests if request["path"] == "/file"]
    assert asked == [None, "bytes=200000-", "bytes=400000-"]


def test_proxy_variables_are_used(server, tmp_path, monkeypatch):
    """With HTTP_PROXY set, the request for another host goes to the proxy."""
    base, behavior = server
    monkeypatch.setenv("http_proxy", base)
    monkeypatch.setenv("no_proxy", "")
    download("http://example.invalid/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    assert behavior.requests[0]["path"] == "http://example.invalid/file"


def test_invalid_state_file_restarts_the_download(server, tmp_path):
    """If NAME.part.json cannot be read or has another URL, the partial file is discarded."""
    base, _ = server
    for state in ("{", "[]", json.dumps({"url": "http://elsewhere/file", "size": 512_000})):
        (tmp_path / "file.part").write_bytes(b"q" * 1000)
        (tmp_path / "file.part.json").write_text(state)
        download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
        assert (tmp_path / "file").read_bytes() == CONTENT
        (tmp_path / "file").unlink()
