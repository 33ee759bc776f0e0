"""The annotation file of VGGSounder: its columns, class names, and download."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading
from pathlib import Path

import pytest

from avcil.datasets import vggsounder
from avcil.datasets.vggsounder import fetch_annotations, read_annotations
from avcil.errors import AvcilError, InputError
from avcil.utils.download import RetryPolicy

TEXT = """video_id,label,modality,background_music,static_image,voice_over
--i-y1v8Hy8_000000,"male speech, man speaking",A,True,False,False
--i-y1v8Hy8_000000,"subway, metro, underground",V,True,False,False
-2-wdcN5vOw_000017,train horning,AV,False,False,True
"""


def test_labels_and_modalities(tmp_path: Path) -> None:
    """Class names are those of the release, which truncates one."""
    (tmp_path / "a.csv").write_text(TEXT)
    assert read_annotations(tmp_path / "a.csv") == {
        "--i-y1v8Hy8_000000": {"male speech, man speaking": ("audible",), "subway, metr": ("visible",)},
        "-2-wdcN5vOw_000017": {"train horning": ("audible", "visible")},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label,split\n", "has the columns 'path,label,split'. Expected is the file vggsounder.csv"),
        ("", "has the columns ''"),
        (
            "video_id,label,modality\na,b,X\n",
            r"line 2: .*a modality \(A, V, AV\) are expected, not 'a', 'b' and 'X'",
        ),
        ("video_id,label,modality\na,b\n", "line 2"),
        (b"\xff", "is not UTF-8"),
        (None, "there is no file"),
    ],
)
def test_other_files_are_rejected(tmp_path: Path, text: str | bytes | None, message: str) -> None:
    """The message names the expected file."""
    if text is not None:
        (tmp_path / "a.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message):
        read_annotations(tmp_path / "a.csv")


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files without a log."""

    def log_message(self, *_: object) -> None:
        pass


def test_file_is_downloaded_once_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file is not used; without a connection, the message says what to do."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.csv").write_text(TEXT)
    handler = functools.partial(Quiet, directory=tmp_path / "site")
    quick = RetryPolicy(attempts=1)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/a.csv"
        with pytest.raises(AvcilError, match="other bytes than published"):
            fetch_annotations(cache=tmp_path, url=url, retry=quick)
        monkeypatch.setattr(vggsounder, "SHA256", hashlib.sha256(TEXT.encode()).hexdigest())
        path = fetch_annotations(cache=tmp_path, url=url, retry=quick)
        server.shutdown()
        thread.join()
    assert fetch_annotations(cache=tmp_path, url=url, retry=quick) == path
    with pytest.raises(AvcilError, match="--annotations FILE"):
        fetch_annotations(cache=tmp_path / "empty", url=url, retry=quick)
