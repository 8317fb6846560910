"""A Hugging Face hub on this machine, and a process that looks checkpoints up there."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = "http://127.0.0.1:9"  # where nothing listens
FIND = """
import sys, upstream
for text in sys.argv[1:]:
    published = upstream.card('tera').published
    try: print(upstream.find_checkpoint(text) if text else upstream.published_checkpoint('tera', published))
    except upstream.UpstreamError as error: print(error)
"""


class FakeHub:
    """Repositories with commits, served as the hub serves them.

    Attributes:
        address: for HF_ENDPOINT.
        gated: repositories that ask for a token.
        token: the one that they accept.
        cuts: how many more times the connection is closed in the middle of a file, by its name.
        digests: a wrong sha256 for a file, by its name.
        requests: how many of each kind there were: `HEAD FILE`, `GET FILE`, `RANGE FILE` (a part), `LIST REPO`.
    """

    address = ""
    token = "hf_right"

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}  # repository, commit, file
        self.branches: dict[str, dict[str, str]] = {}
        self.gated: set[str] = set()
        self.cuts: dict[str, int] = {}
        self.digests: dict[str, str] = {}
        self.requests: Counter[str] = Counter()

    def commit(self, repo: str, files: Mapping[str, bytes] | Path, revision: str = "main") -> str:
        """Add a commit with these files, or those of a folder; `revision` points to it. Gives its hash."""
        if isinstance(files, Path):
            files = {str(path.relative_to(files)): path.read_bytes() for path in files.rglob("*") if path.is_file()}
        commits = self.commits.setdefault(repo, {})
        name = hashlib.sha1(f"{repo} {len(commits)}".encode()).hexdigest()
        commits[name] = dict(files)
        self.branches.setdefault(repo, {})[revision] = name
        return name

    def find(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit of a branch, tag or hash, and its files."""
        name = self.branches[repo].get(revision, revision)
        return (name, self.commits[repo][name]) if name in self.commits[repo] else None


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers the two questions of a download: which files there are, and what is in one."""

    hub: FakeHub

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        listing = parts[:2] == ["api", "models"]
        repo = "/".join(parts[2:4] if listing else parts[:2])
        revision, file = parts[5 if listing else 3], "/".join(parts[4:])
        if repo not in self.hub.commits:
            return self._refuse(404, "RepoNotFound")
        if repo in self.hub.gated and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return self._refuse(401 if "Authorization" not in self.headers else 403, "GatedRepo")
        if (found := self.hub.find(repo, revision)) is None:
            return self._refuse(404, "RevisionNotFound")
        commit, files = found
        if listing:
            self.hub.requests[f"LIST {repo}"] += 1
            return self._send(json.dumps({"id": repo, "sha": commit, "siblings": [{"rfilename": name} for name in files]}).encode(), {})
        if file not in files:
            return self._refuse(404, "EntryNotFound", commit)
        self._serve(file, files[file], commit)

    def _serve(self, file: str, content: bytes, commit: str) -> None:
        digest = self.hub.digests.get(file, hashlib.sha256(content).hexdigest())
        etag = hashlib.sha1(content).hexdigest() if file.endswith(".json") else digest  # only large files have a sha256
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit}
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.hub.requests[f"{'RANGE' if start else self.command} {file}"] += 1
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        cut = self.command == "GET" and self.hub.cuts.get(file, 0) > 0
        self.hub.cuts[file] = self.hub.cuts.get(file, 0) - cut
        self._send(content[start:], headers, 206 if start else 200, (len(content) - start) // 2 if cut else None)

    def _send(self, body: bytes, headers: Mapping[str, str], status: int = 200, sent: int | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | dict(headers)).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:sent])
        self.close_connection = True

    def _refuse(self, status: int, code: str, commit: str = "") -> None:
        self._send(b"", {"X-Error-Code": code} | ({"X-Repo-Commit": commit} if commit else {}), status)


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """A hub that listens as long as the block lasts."""
    hub = FakeHub()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()  # seconds until it sees that it shall stop
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def use_hub(monkeypatch: pytest.MonkeyPatch, address: str, cache: Path, *, offline: bool = False) -> None:
    """Let this process look there; what `huggingface_hub` has read from the environment when it was imported is set too."""
    from huggingface_hub import constants

    for name, value in {"HF_ENDPOINT": address, "NO_PROXY": "127.0.0.1", "HF_TOKEN": ""}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between two attempts of a download


def find_in_process(address: str, cache: Path, repository: Path, *checkpoints: str, **environment: str) -> list[str]:
    """What is found for each checkpoint, '' for the published TERA, or the error, by a process that starts with this environment."""
    own = {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_HOME": str(cache), "PYTHONPATH": str(repository), "NO_PROXY": "127.0.0.1"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    command = [sys.executable, "-c", FIND, *checkpoints]
    done = subprocess.run(command, env=kept | own | environment, cwd=cache, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
