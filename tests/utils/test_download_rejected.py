"""Downloads that are rejected: wrong content, permanent errors, URLs that are not allowed."""

from __future__ import annotations

import pytest
from download_server import CONTENT, QUICK, SHA256

from avcil.errors import AvcilError, InputError
from avcil.utils.download import download


def test_wrong_checksum_is_an_error(server, tmp_path):
    """After two downloads with a wrong checksum there is an error, and neither a file nor a partial file."""
    base, behavior = server
    behavior.content = b"x" + CONTENT[1:]
    with pytest.raises(AvcilError, match="other bytes than published"):
        download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    assert not (tmp_path / "file").exists()
    assert not (tmp_path / "file.part").exists()
    assert len(behavior.requests) == 2


@pytest.mark.parametrize(
    ("statuses", "kind"), [([404], InputError), ([403], InputError), ([410], InputError)]
)
def test_permanent_errors_are_not_retried(server, tmp_path, statuses, kind):
    """Status 403, 404 or 410 ends the download after one request."""
    base, behavior = server
    behavior.statuses = list(statuses)
    with pytest.raises(kind, match=str(statuses[0])):
        download(f"{base}/file", tmp_path / "file", retry=QUICK)
    assert len(behavior.requests) == 1


def test_temporary_errors_are_retried(server, tmp_path):
    """Status 429, 500 and 503 are retried until the number of attempts is reached."""
    base, behavior = server
    behavior.statuses = [500, 429]
    download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    behavior.statuses = [503] * 9
    with pytest.raises(AvcilError, match=r"503.*HTTPS_PROXY.*Do this"):
        download(f"{base}/file", tmp_path / "other", retry=QUICK, offline_advice="Do this instead")
    assert len(behavior.requests) == 3 + QUICK.attempts


def test_html_page_is_rejected(server, tmp_path):
    """A proxy may send its login page instead of the file."""
    base, behavior = server
    behavior.kind = "text/html; charset=utf-8"
    with pytest.raises(AvcilError, match="a web page instead"):
        download(f"{base}/file", tmp_path / "file", retry=QUICK)


def test_unknown_length_requires_a_checksum(server, tmp_path):
    """Without length and checksum a truncated file could not be detected."""
    base, behavior = server
    behavior.sends_length = False
    with pytest.raises(AvcilError, match="does not send the length"):
        download(f"{base}/file", tmp_path / "file", retry=QUICK)
    download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)


def test_error_without_connection(tmp_path):
    """The message has the URL, the proxy variables and the advice of the caller."""
    with pytest.raises(AvcilError, match="Without a connection: copy it"):
        download(
            "http://127.0.0.1:9/f",
            tmp_path / "f",
            retry=QUICK,
            offline_advice="Without a connection: copy it",
        )


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://127.0.0.1/x", "x"])
def test_only_http_urls_are_allowed(address, tmp_path):
    """URLs of local files and other protocols are rejected."""
    with pytest.raises(InputError, match="http"):
        download(address, tmp_path / "f", retry=QUICK)


def test_redirect_to_another_protocol_is_rejected(server, tmp_path):
    """A redirect to ftp:// is an error."""
    with pytest.raises(AvcilError, match="not followed"):
        download(f"{server[0]}/away", tmp_path / "f", retry=QUICK)
