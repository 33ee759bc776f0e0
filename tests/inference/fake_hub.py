"""The Hugging Face hub as its client library sees it, on this machine's loopback, with repositories in memory.

What it does: create a repository, tell which files go by LFS, take LFS files and commits, list and give files of a
revision, check the YAML of a card. Everything else is 404.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml


class FakeHub:
    """Repositories by name: the files of each commit, the last one being main."""

    def __init__(self) -> None:
        self.commits: dict[str, list[dict[str, bytes]]] = {}
        self.private: dict[str, bool] = {}
        self.large: dict[str, bytes] = {}
        """LFS files by their SHA-256."""
        self.url = ""

    def commit_id(self, name: str, number: int) -> str:
        return hashlib.sha1(f"{name} {number}".encode()).hexdigest()

    def at(self, name: str, revision: str) -> tuple[str, dict[str, bytes]]:
        """Id and files of a revision; KeyError if there is none."""
        commits = self.commits[name]
        for number, files in enumerate(commits):
            last = number == len(commits) - 1
            if revision == self.commit_id(name, number) or (revision == "main" and last):
                return self.commit_id(name, number), files
        raise KeyError(revision)

    def commit(self, name: str, lines: list[dict[str, Any]]) -> str:
        files = dict(self.commits[name][-1])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        self.commits[name].append(files)
        return self.commit_id(name, len(self.commits[name]) - 1)


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Nothing."""

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def _answer(self, code: int, content: bytes, **headers: str) -> None:
            self.send_response(code)
            for key, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(key.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def _json(self, value: object, code: int = 200, **headers: str) -> None:
            self._answer(code, json.dumps(value).encode(), Content_Type="application/json", **headers)

        def _missing(self, what: str) -> None:
            self._json({"error": what}, 404, X_Error_Code=what)

        def do_POST(self) -> None:
            body, path = self._body(), unquote(urlsplit(self.path).path)
            if self.headers.get("Authorization") != "Bearer hf_token":
                return self._json({"error": "Invalid username or password."}, 401)
            if path == "/api/repos/create":
                return self._create(json.loads(body))
            if path == "/api/validate-yaml":
                return self._validate(json.loads(body)["content"])
            if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", path):
                files = json.loads(body)["files"]
                modes = [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                        "shouldIgnore": False,
                    }
                    for file in files
                ]
                return self._json({"files": modes})
            if found := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
                objects = json.loads(body)["objects"]
                there = [
                    {**item, "actions": {"upload": {"href": f"{hub.url}/lfs/{item['oid']}"}}}
                    for item in objects
                ]
                return self._json({"transfer": "basic", "objects": there})
            if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
                lines = [json.loads(line) for line in body.splitlines()]
                made = hub.commit(found[1], lines)
                return self._json({"commitUrl": f"{hub.url}/{found[1]}/commit/{made}", "commitOid": made})
            return self._missing("EntryNotFound")

        def _create(self, asked: dict[str, Any]) -> None:
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            if name in hub.commits:
                return self._json({"error": "exists", "url": f"{hub.url}/{name}"}, 409)
            hub.commits[name] = [{".gitattributes": b"*.safetensors filter=lfs\n"}]
            hub.private[name] = asked.get("visibility") == "private" or asked.get("private") is True
            return self._json({"url": f"{hub.url}/{name}", "name": name, "id": name})

        def _validate(self, content: str) -> None:
            """As the hub does, for what can be checked without it: YAML, with figures that belong to something."""
            errors = []
            try:
                head = yaml.safe_load(content.split("---")[1])
                for model in head.get("model-index", []):
                    for result in model["results"]:
                        assert result["task"]["type"]
                        assert result["dataset"]["type"]
                        assert result["dataset"]["name"]
                        assert all({"type", "value"} <= metric.keys() for metric in result["metrics"])
            except Exception as error:
                errors.append({"message": f"{type(error).__name__}: {error}"})
            self._json({"errors": errors, "warnings": []}, 400 if errors else 200)

        def do_PUT(self) -> None:
            body, oid = self._body(), self.path.rsplit("/", 1)[1]
            assert hashlib.sha256(body).hexdigest() == oid
            hub.large[oid] = body
            self._answer(200, b"")

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            try:
                if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
                    commit, files = hub.at(found[1], found[2] or "main")
                    siblings = [{"rfilename": file} for file in files]
                    return self._json(
                        {"id": found[1], "sha": commit, "siblings": siblings, "private": True, "tags": []}
                    )
                if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)(?:/.*)?", path):
                    _, files = hub.at(found[1], found[2])
                    tree = [
                        {
                            "type": "file",
                            "path": file,
                            "size": len(data),
                            "oid": hashlib.sha1(data).hexdigest(),
                        }
                        for file, data in files.items()
                    ]
                    return self._json(tree)
                if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                    commit, files = hub.at(found[1], found[2])
                    tag = f'"{hashlib.sha256(files[found[3]]).hexdigest()}"'
                    return self._answer(200, files[found[3]], ETag=tag, X_Repo_Commit=commit)
            except KeyError:
                return self._missing("RepoNotFound" if "resolve" not in path else "EntryNotFound")
            return self._missing("EntryNotFound")

        do_HEAD = do_GET

    return Handler


@contextmanager
def serving() -> Iterator[FakeHub]:
    """A hub that listens while the context lasts."""
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
