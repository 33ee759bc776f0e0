"""Downloads that are rejected: wrong content, permanent errors, addresses that are not fetched."""

from __future__ import annotations

import pytest
from download_server import CONTENT, QUICK, SHA256

from avcil.errors import AvcilError, InputError
from avcil.utils.download import download


def test_wrong_bytes_are_discarded_and_reported(server, tmp_path):
    """Other bytes than published, twice: an error, and nothing that could be mistaken for the file."""
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
def test_permanent_errors_are_reported_at_once(server, tmp_path, statuses, kind):
    """No such file and no permission are not tried again."""
    base, behavior = server
    behavior.statuses = list(statuses)
    with pytest.raises(kind, match=str(statuses[0])):
        download(f"{base}/file", tmp_path / "file", retry=QUICK)
    assert len(behavior.requests) == 1


def test_retries_of_a_busy_server_end(server, tmp_path):
    """500s and 429s pass, until the attempts are spent."""
    base, behavior = server
    behavior.statuses = [500, 429]
    download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)
    behavior.statuses = [503] * 9
    with pytest.raises(AvcilError, match=r"503.*HTTPS_PROXY.*Do this"):
        download(f"{base}/file", tmp_path / "other", retry=QUICK, offline_advice="Do this instead")
    assert len(behavior.requests) == 3 + QUICK.attempts


def test_a_web_page_instead_of_a_file_is_refused(server, tmp_path):
    """A log-in page of a proxy is not taken for an archive."""
    base, behavior = server
    behavior.kind = "text/html; charset=utf-8"
    with pytest.raises(AvcilError, match="a web page instead"):
        download(f"{base}/file", tmp_path / "file", retry=QUICK)


def test_a_file_of_unknown_length_needs_a_checksum(server, tmp_path):
    """Without length and checksum a cut-off file would pass for whole."""
    base, behavior = server
    behavior.sends_length = False
    with pytest.raises(AvcilError, match="does not say how long"):
        download(f"{base}/file", tmp_path / "file", retry=QUICK)
    download(f"{base}/file", tmp_path / "file", sha256=SHA256, retry=QUICK)


def test_no_connection_says_what_to_do(tmp_path):
    """Nobody listening: the message names the address, the proxies and the other way."""
    with pytest.raises(AvcilError, match="Without a connection: copy it"):
        download(
            "http://127.0.0.1:9/f",
            tmp_path / "f",
            retry=QUICK,
            offline_advice="Without a connection: copy it",
        )


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://127.0.0.1/x", "x"])
def test_only_web_addresses_are_fetched(address, tmp_path):
    """No local files, no other protocols."""
    with pytest.raises(InputError, match="http"):
        download(address, tmp_path / "f", retry=QUICK)


def test_a_redirect_elsewhere_is_not_followed(server, tmp_path):
    """A server cannot send the download to another protocol."""
    with pytest.raises(AvcilError, match="not followed"):
        download(f"{server[0]}/away", tmp_path / "f", retry=QUICK)
