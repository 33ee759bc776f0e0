"""Background clips and thresholds of the server: rejected predictions, undo, invalid requests."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from avcil.inference.rejection import Rejection
from avcil.saved_models.folder import BACKGROUND
from avcil.serve.render_learning import learning_html, undo_label, undone_html


def predict(url: str, clip: Path) -> dict:
    response = httpx.post(f"{url}/api/predict", files={"file": (clip.name, clip.read_bytes())}, timeout=60)
    assert response.status_code == 200
    return response.json()


def teach(url: str, clips: list[Path], **fields: str) -> httpx.Response:
    files = [("files", (clip.name, clip.read_bytes())) for clip in clips]
    return httpx.post(f"{url}/api/teach", data=fields, files=files, timeout=60)


def change(url: str, name: str, **fields: str) -> dict:
    response = httpx.post(f"{url}/api/{name}", data=fields, timeout=60)
    assert response.status_code == 200, response.text
    return response.json()


def classes(url: str) -> list[dict]:
    return httpx.get(f"{url}/api/classes").json()


def test_background_clips(run, serve_run, new_clips):
    """Similar clips are rejected; the background is no class, exists after a restart, and can be undone and
    forgotten."""
    clips = new_clips(0)
    with serve_run(run) as served:
        url, before = served.url, classes(served.url)
        assert predict(url, clips[0])["background"] is None
        for given in (clips[1:4], clips[4:]):
            started = teach(url, given, background="true")
            assert (started.status_code, started.json()["label"]) == (202, BACKGROUND)
            served.service.wait_for_learning()
        job = httpx.get(f"{url}/api/teach").json()
        assert job["state"] == "done", job["error"]
        result = job["result"]
        assert (result["learned"], result["held_out"], result["new_class"]) == (4, 0, False)
        assert result["accuracy_after"]["new"] is None
        assert 0 <= result["accuracy_after"]["old"] <= 1
        assert result["old_clips"] > 0
        assert not any("fewer than 4" in note for note in result["notes"])
        assert classes(url) == before
        assert httpx.get(f"{url}/api/health").json()["classes"] == len(before)
    with serve_run(run) as served:
        url, response = served.url, predict(served.url, clips[0])
        assert response["in_distribution"] is False
        assert response["background"] > 0.5
        assert BACKGROUND not in {entry["label"] for entry in response["predictions"]}
        undone = change(url, "undo")
        assert (undone["change"], undone["learned"]) == ("4 clips of the background learned", 4)
        assert predict(url, clips[0])["background"] > 0.5
        assert change(url, "forget", label=BACKGROUND)["change"] == "the background forgotten"
        assert predict(url, clips[0])["background"] is None
        change(url, "undo")
        change(url, "undo")
        assert classes(url) == before
        assert predict(url, clips[0])["background"] is None


def test_rejected_requests(served, new_clips):
    """A job has either a class or background; no class can have the name of the background."""
    clips, first = new_clips(0)[:1], classes(served.url)[0]["label"]
    for fields, words in (
        ({}, "give the field label"),
        ({"label": "owl", "background": "true"}, "give the field label"),
        ({"background": "perhaps"}, "background"),
        ({"label": BACKGROUND}, "reserved"),
        ({"label": f" {BACKGROUND} "}, "reserved"),
    ):
        response = teach(served.url, clips, **fields)
        assert (response.status_code, response.json()["error"]["code"]) == (422, "bad_input")
        assert words in response.json()["error"]["message"]
    renamed = httpx.post(f"{served.url}/api/rename", data={"label": first, "new_label": BACKGROUND})
    assert (renamed.status_code, "reserved" in renamed.text) == (422, True)
    assert served.service.state_directory.updates == []
    assert served.service.job is None


def test_page_shows_the_background():
    """It is not shown as a class."""
    entry = {"number": 1, "label": BACKGROUND, "learned": 3, "held_out": []}
    shown = learning_html(None, [entry])
    assert "3 clips of the background learned" in shown
    assert BACKGROUND not in shown
    assert undo_label([entry]) == "Undo: 3 clips of the background learned"
    assert "3 clips of the background learned" in undone_html(entry)


def test_thresholds(run, serve_run, trained, new_clips):
    """They affect predictions, follow the renaming of a class and its undo, and do not apply to other classes."""
    clip = next((trained / "clips").glob("test-*.mp4"))
    with serve_run(run) as served:
        label = predict(served.url, clip)["label"]
        assert predict(served.url, clip)["threshold"] is None
    with serve_run(run, rejection=Rejection(alpha=0.0, thresholds={label: 1.0})) as served:
        for undo in (False, True):
            response = predict(served.url, clip)
            assert (response["label"], response["threshold"], response["in_distribution"]) == (
                label,
                1.0,
                False,
            )
            if not undo:
                change(served.url, "rename", label=label, new_label="renamed")
                assert served.service.recognizer.rejection.thresholds == {"renamed": 1.0}
                assert predict(served.url, clip)["threshold"] == 1.0
                change(served.url, "undo")
        assert teach(served.url, new_clips(0), label="owl").status_code == 202
        served.service.wait_for_learning()
        assert predict(served.url, new_clips(0)[0])["threshold"] is None


def test_precision_option(run, serve_run, trained, new_clips):
    """The thresholds are those of the current model, also for a class learned by the server."""
    clip = next((trained / "clips").glob("test-*.mp4"))
    with serve_run(run, rejection=Rejection(precision=0.95)) as served:
        recognizer = served.service.recognizer
        response = predict(served.url, clip)
        assert response["threshold"] == recognizer.thresholds()[response["label"]]
        assert teach(served.url, new_clips(0), label="owl").status_code == 202
        served.service.wait_for_learning()
        assert predict(served.url, new_clips(0)[0])["threshold"] == recognizer.thresholds()["owl"]


@pytest.mark.parametrize("arguments", [("--threshold", "nothing=0.5"), ("--precision", "2")])
def test_invalid_threshold_options(arguments, run, avcil, capsys):
    """The server does not start."""
    assert avcil("serve", run, "--port", "0", *arguments) == 2
    assert arguments[0].strip("-") in capsys.readouterr().err
