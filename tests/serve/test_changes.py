"""Rename, forget, merge and undo with the HTTP API, and errors."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from changes_client import labels, merge, post, predicted, teach, zipped

from avcil.saved_models.folder import load_saved
from avcil.serve.incoming import Upload
from avcil.serve.render_learning import learning_html, undo_label, undone_html
from avcil.serve.service import Service
from avcil.serve.state_directory import StateDirectory


def test_rename_and_forget_persist_and_can_be_undone(run, serve_run, new_clips):
    """An added class is renamed and forgotten; its frame, held-out clips and taught_here have the new name."""
    clips = new_clips(0)
    with serve_run(run) as served:
        old = labels(served.url)
        teach(served, "owl", clips)
        result = post(served.url, "rename", label="owl", new_label="  barn   owl ").json()
        assert (result["kind"], result["change"]) == ("rename", "“owl” renamed to “barn owl”")
        assert result["accuracy_before"] is result["accuracy_after"] is None
        assert labels(served.url) == result["classes"] == [*old, "barn owl"]
        assert predicted(served.url, clips[0]) == "barn owl"
        renamed = post(served.url, "rename", label=old[0], new_label="first").json()
        assert renamed["classes"] == ["first", *old[1:], "barn owl"]
    with serve_run(run) as served:
        service = served.service
        assert [known.label for known in service.classes() if known.taught_here] == ["barn owl"]
        assert httpx.get(f"{served.url}/api/teach").json()["state"] == "done"
        held_out = service.held_out_so_far()
        assert {"first", "barn owl"} <= set(held_out.labels)
        assert not {"owl", old[0]} & set(held_out.labels)
        result = post(served.url, "forget", label="barn owl").json()
        assert result["kind"] == "forget"
        assert result["classes"] == ["first", *old[1:]]
        assert result["test_clips"] == sum(label != "barn owl" for label in held_out.labels) > 0
        assert 0 <= result["accuracy_before"] <= result["accuracy_after"] <= 1
        assert predicted(served.url, clips[0]) != "barn owl"
    with serve_run(run) as served:
        for change in (
            "“barn owl” forgotten",
            f"“{old[0]}” renamed to “first”",
            "“owl” renamed to “barn owl”",
        ):
            assert httpx.post(f"{served.url}/api/undo").json()["change"] == change
        assert labels(served.url) == [*old, "owl"]
        assert "owl" in served.service.held_out_so_far().labels
        assert httpx.post(f"{served.url}/api/undo").json()["learned"] == 6
        assert labels(served.url) == old


def test_clips_are_forgotten(served, new_clips, tmp_path):
    """The model equals one that never learned them; clips that were not learned are errors, also held-out clips."""
    first, second = new_clips(0), new_clips(1)
    kept = first[:3]
    teach(served, "owl", kept)
    expected = served.service.recognizer.snapshot()
    teach(served, "owl", second[:3])
    result = post(served.url, "forget", second[:3], label="owl").json()
    assert result["change"] == "3 clips of “owl” forgotten"
    after = served.service.recognizer.snapshot()
    assert after.learning.counts == expected.learning.counts
    clip = served.service.recognizer.reader.features(kept[0])
    scores = [served.service.recognizer.scores(clip, state=state) for state in (after, expected)]
    assert scores[0].allclose(scores[1], rtol=1e-6, atol=1e-8)
    refused = post(served.url, "forget", [*kept, second[0]], label="owl")
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "bad_input")
    assert f"{second[0].name}: the model has not learned it" in refused.json()["error"]["message"]
    junk = tmp_path / "junk.mp4"
    junk.write_bytes(b"junk")
    refused = post(served.url, "forget", [kept[0], junk], label="owl")
    assert refused.status_code == 422
    assert "junk.mp4" in refused.json()["error"]["message"]
    assert "/tmp" not in refused.text
    assert post(served.url, "forget", kept, label="owl").json()["change"] == "3 clips of “owl” forgotten"
    assert "owl" not in labels(served.url)  # no clip of the class remains
    teach(served, "rook", second)
    held = served.service.state_directory.updates[-1]["held_out"]
    assert held == ["rook", "rook"]
    refused = post(served.url, "forget", second, label="rook")
    assert refused.json()["error"]["message"].count("the model has not learned it") == 2, "the held-out clips"
    assert labels(served.url)[-1] == "rook"


def test_invalid_requests(served):
    """Unknown classes, forms with missing or additional fields, another method."""
    url, old = served.url, labels(served.url)
    for name, fields, message in (
        ("rename", {"label": "nothing", "new_label": "x"}, "has no class 'nothing'"),
        ("rename", {"label": old[0], "new_label": old[1]}, "would have two classes"),
        ("rename", {"label": old[0], "new_label": old[0]}, "already"),
        ("rename", {"label": old[0], "new_label": " "}, "1 to 100 printable characters"),
        ("rename", {"label": old[0], "new_label": "a\x00b"}, "1 to 100 printable characters"),
        ("rename", {"label": old[0]}, "new_label"),
        ("rename", {"label": old[0], "new_label": "x", "more": "y"}, "unknown field 'more'"),
        ("rename", {"label": [old[0], old[1]], "new_label": "x"}, "is given 2 times"),
        ("forget", {"label": "nothing"}, "has no class 'nothing'"),
        ("forget", {}, "label"),
        ("merge", {}, "file"),
    ):
        response = httpx.post(f"{url}/api/{name}", data=fields)
        assert response.status_code == 422, (name, fields, response.text)
        assert message in response.json()["error"]["message"], (name, fields)
    pairs = merge(url, b"PK", rename="a")
    assert (pairs.status_code, "OLD=NEW" in pairs.text) == (422, True)
    assert httpx.get(f"{url}/api/rename").status_code == 405
    large = httpx.post(f"{url}/api/rename", data={"label": old[0], "new_label": "x" * 2_000_000})
    assert large.status_code == 413
    assert merge(url, bytes(600_000)).status_code == 413
    elsewhere = httpx.post(
        f"{url}/api/forget", data={"label": old[0]}, headers={"origin": "https://elsewhere.example"}
    )
    assert elsewhere.status_code == 403
    for label in old[:-1]:
        assert post(url, "forget", label=label).status_code == 200
    last = post(url, "forget", label=old[-1])
    assert (last.status_code, "a model needs at least one class" in last.text) == (422, True)


def test_read_only_and_exclusive(run, serve_run):
    """Status 403 and 409, before the request is read."""
    with serve_run(run, read_only=True) as served:
        first = labels(served.url)[0]
        responses = [
            post(served.url, "rename", label=first, new_label="x"),
            post(served.url, "forget", label=first),
        ]
        responses.append(merge(served.url, b"PK"))
        assert {response.status_code for response in responses} == {403}
    with serve_run(run) as served, served.service._one_change():
        responses = [
            post(served.url, "rename", label=first, new_label="x"),
            post(served.url, "forget", label=first),
        ]
        responses += [merge(served.url, b"PK"), httpx.post(f"{served.url}/api/undo")]
        assert {(a.status_code, a.json()["error"]["code"]) for a in responses} == {(409, "learning")}


@contextmanager
def full_disk(folder: Path, name: str) -> Iterator[list[str]]:
    """Within the context, files of this name below a folder cannot be flushed: no space. Gives the failed files."""
    sync, failed = os.fsync, []

    def no_space(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if path.startswith(str(folder)) and f"/.{name}." in path:
            failed.append(path)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", no_space)
        yield failed


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.safetensors", "learning.safetensors", "state.json"])
def test_full_disk(run, serve_run, other, new_clips, tmp_path, name):
    """Each change gives 507 without a path; the old model predicts, no files remain, and a second try succeeds."""
    clips, work, content = new_clips(0)[:3], tmp_path / "work", zipped(other, tmp_path)
    with serve_run(run, state_dir=work, limits={"upload_bytes": 4_000_000}) as served:
        url = served.url
        teach(served, "owl", clips)
        old, before = labels(url), served.service.recognizer.snapshot()
        files = {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
        changes: dict[str, Callable[[], httpx.Response]] = {
            "rename": lambda: post(url, "rename", label="owl", new_label="barn owl"),
            "forget clips": lambda: post(url, "forget", clips[:1], label="owl"),
            "forget": lambda: post(url, "forget", label="owl"),
            "merge": lambda: merge(url, content, same_classes="true"),
        }
        for change, ask in changes.items():
            with full_disk(work, name) as failed:
                response = ask()
            assert failed, change
            assert (response.status_code, response.json()["error"]["code"]) == (507, "no_space"), change
            assert "disk is full" in response.json()["error"]["message"]
            assert "/" not in response.json()["error"]["message"]
            assert labels(url) == old
            assert served.service.recognizer.snapshot() is before
            assert predicted(url, clips[0]) == "owl"
            assert {path: path.read_bytes() for path in work.rglob("*") if path.is_file()} == files, change
            again = ask()
            assert again.status_code == 200, (change, again.text)
            assert httpx.post(f"{url}/api/undo").status_code == 200
            before = served.service.recognizer.snapshot()
            files = {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
    with serve_run(run, state_dir=work) as served:
        assert labels(served.url) == old


def test_kill_at_any_time(run, monkeypatch, tmp_path):
    """A copy of the state directory at each change on the disk can be opened, with the model before or after
    the change and no other files."""
    service = Service(run, state_dir=tmp_path / "work")
    copies: list[Path] = []
    busy = False

    def copying(name: str) -> None:
        call = getattr(os, name)

        def copied(*words, **more):
            nonlocal busy
            if not busy:
                busy = True
                copies.append(tmp_path / f"copy-{len(copies)}")
                shutil.copytree(tmp_path / "work", copies[-1])
                busy = False
            return call(*words, **more)

        monkeypatch.setattr(os, name, copied)

    old = service.recognizer.classes_
    known = [old]
    with monkeypatch.context():
        for name in ("replace", "rename", "fsync", "mkdir", "rmdir", "unlink"):
            copying(name)
        for change in (
            lambda: service.rename(old[0], "first"),
            lambda: service.forget(old[1]),
            service.undo,
        ):
            change()
            known.append(service.recognizer.classes_)
        monkeypatch.undo()
    service.close()
    assert known == [old, ("first", *old[1:]), ("first", *old[2:]), ("first", *old[1:])]
    assert len(copies) > 20
    seen = []
    for copy in copies:
        work = StateDirectory(copy, run / "model")
        seen.append(load_saved(work.model()).labels)
        assert sorted(path.name for path in (copy / "updates").glob("*")) == [
            f"{entry['number']:06d}" for entry in work.updates
        ]
        work.close()
    changes = [labels for at, labels in enumerate(seen) if at == 0 or labels != seen[at - 1]]
    assert changes in (known, known[:-1])


def test_state_of_an_earlier_version(run, new_clips, tmp_path):
    """A state directory of format version 1 can be opened and changed; it is then written as version 3."""
    service = Service(run, state_dir=tmp_path / "work")
    service.start_learning("owl", [Upload(clip, clip.name) for clip in new_clips(0)])
    service.close()
    path = tmp_path / "work" / "state.json"
    state = json.loads(path.read_text())
    for holder in (state["updates"][0], state["updates"][0]["result"]):
        holder["learnt"] = holder.pop("learned")
    path.write_text(json.dumps(state | {"version": 1, "sittings": state.pop("updates")}))
    (path.parent / "updates").rename(path.parent / "sittings")
    service = Service(run, state_dir=tmp_path / "work")
    service.rename("owl", "barn owl")
    service.close()
    state = json.loads(path.read_text())
    assert (state["version"], state["updates"][0]["learned"]) == (3, 6)
    assert "sittings" not in state
    service = Service(run, state_dir=tmp_path / "work")
    assert service.recognizer.classes_[-1] == "barn owl"
    service.close()


def test_page_lists_changes():
    """All kinds of changes are listed, names are escaped, and Undo names the last change."""
    trained = {"number": 1, "label": "owl", "learned": 3, "held_out": []}
    result = {"accuracy_before": 0.5, "accuracy_after": 1.0, "test_clips": 4, "notes": []}
    renamed = {"number": 2, "kind": "rename", "label": "owl", "new_label": "<b>", "result": result}
    shown = learning_html(None, [trained, renamed])
    assert "“owl” renamed to “&lt;b&gt;”" in shown
    assert "3 clips" in shown
    assert "100 %" in shown.replace("\N{NO-BREAK SPACE}", " ")
    assert undo_label([trained, renamed]) == "Undo: “owl” renamed to “<b>”"
    assert undo_label([trained]) == "Undo “owl”"
    assert "Undone: “owl” renamed to “&lt;b&gt;”." in undone_html(renamed)
