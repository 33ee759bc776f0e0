"""A local server with the part of the Hugging Face Hub's API that its client library uses; repositories are in memory.

It creates repositories, selects the files that are uploaded with LFS, receives LFS files and commits, lists and returns
the files of a revision, and checks the YAML of model cards. Everything else is 404.
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
    """Repositories by name, with the files of each commit; the last commit is main."""

    def __init__(self) -> None:
        self.commits: dict[str, list[dict[str, bytes]]] = {}
        self.private: dict[str, bool] = {}
        self.large: dict[str, bytes] = {}
        """LFS files by their SHA-256."""
        self.url = ""

    def commit_id(self, name: str, number: int) -> str:
        return hashlib.sha1(f"{name} {number}".encode()).hexdigest()

    def at(self, name: str, revision: str) -> tuple[str, dict[str, bytes]]:
        """Id and files of a revision; KeyError if it does not exist."""
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


class _Handler(BaseHTTPRequestHandler):
    """Handles requests for `hub`, which a subclass sets."""

    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_POST(self) -> None:
        body, path = self._body(), unquote(urlsplit(self.path).path)
        if self.headers.get("Authorization") != "Bearer hf_token":
            return self._send_json({"error": "Invalid username or password."}, 401)
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return self._validate(json.loads(body)["content"])
        if re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", path):
            return self._send_upload_modes(json.loads(body)["files"])
        if re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            return self._send_upload_addresses(json.loads(body)["objects"])
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            commit = self.hub.commit(match[1], [json.loads(line) for line in body.splitlines()])
            url = f"{self.hub.url}/{match[1]}/commit/{commit}"
            return self._send_json({"commitUrl": url, "commitOid": commit})
        return self._send_missing("EntryNotFound")

    def do_PUT(self) -> None:
        body, oid = self._body(), self.path.rsplit("/", 1)[1]
        assert hashlib.sha256(body).hexdigest() == oid
        self.hub.large[oid] = body
        self._send(200, b"")

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        try:
            if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
                return self._send_model(match[1], match[2] or "main")
            if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)(?:/.*)?", path):
                return self._send_tree(match[1], match[2])
            if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                commit, files = self.hub.at(match[1], match[2])
                tag = f'"{hashlib.sha256(files[match[3]]).hexdigest()}"'
                return self._send(200, files[match[3]], ETag=tag, X_Repo_Commit=commit)
        except KeyError:
            return self._send_missing("RepoNotFound" if "resolve" not in path else "EntryNotFound")
        return self._send_missing("EntryNotFound")

    do_HEAD = do_GET

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _send(self, code: int, content: bytes, **headers: str) -> None:
        self.send_response(code)
        for key, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _send_json(self, value: object, code: int = 200, **headers: str) -> None:
        self._send(code, json.dumps(value).encode(), Content_Type="application/json", **headers)

    def _send_missing(self, code: str) -> None:
        self._send_json({"error": code}, 404, X_Error_Code=code)

    def _create(self, request: dict[str, Any]) -> None:
        name = f"{request.get('organization') or 'me'}/{request['name']}"
        if name in self.hub.commits:
            return self._send_json({"error": "exists", "url": f"{self.hub.url}/{name}"}, 409)
        self.hub.commits[name] = [{".gitattributes": b"*.safetensors filter=lfs\n"}]
        self.hub.private[name] = request.get("visibility") == "private" or request.get("private") is True
        return self._send_json({"url": f"{self.hub.url}/{name}", "name": name, "id": name})

    def _validate(self, content: str) -> None:
        """As on the hub: the card is YAML, and each metric has a task and a data set."""
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
        self._send_json({"errors": errors, "warnings": []}, 400 if errors else 200)

    def _send_upload_modes(self, files: list[dict[str, Any]]) -> None:
        """Weights are uploaded with LFS, other files in the commit."""
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for file in files
        ]
        self._send_json({"files": modes})

    def _send_upload_addresses(self, objects: list[dict[str, Any]]) -> None:
        addresses = [
            {**item, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{item['oid']}"}}} for item in objects
        ]
        self._send_json({"transfer": "basic", "objects": addresses})

    def _send_model(self, name: str, revision: str) -> None:
        commit, files = self.hub.at(name, revision)
        siblings = [{"rfilename": file} for file in files]
        self._send_json({"id": name, "sha": commit, "siblings": siblings, "private": True, "tags": []})

    def _send_tree(self, name: str, revision: str) -> None:
        _, files = self.hub.at(name, revision)
        tree = [
            {"type": "file", "path": file, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for file, data in files.items()
        ]
        self._send_json(tree)


@contextmanager
def serving() -> Iterator[FakeHub]:
    """A hub that runs within the context."""
    hub = FakeHub()
    handler = type("_HandlerOfHub", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
