"""What `-k` may say, and what happens without it."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import upstream
from tests.upstream import make
from upstream import locate
from upstream.errors import UpstreamError
from upstream.tera_checkpoint import write_s3prl

COMMIT = "a" * 40
PUBLISHED = "tera_logMelBase_T_F_M_AdamW_b32_1m_960hr_drop1/states-1000000.ckpt"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    """A hub on this machine: serves `tmp_path/hub/OWNER/NAME/FILE`; gives its address."""
    root = tmp_path / "hub"

    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self, body: bool) -> None:
            repo, _, rest = self.path.lstrip("/").partition("/resolve/")
            path = root / repo / rest.partition("/")[2]
            code = "" if path.is_file() else "EntryNotFound" if (root / repo).is_dir() else "RepoNotFound"
            content = path.read_bytes() if not code else b""
            self.send_response(404 if code else 200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{len(content)}"')
            self.send_header("X-Repo-Commit", COMMIT)
            if code:
                self.send_header("X-Error-Code", code)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def find_in_process(hub: str, cache: Path, repository: Path, *checkpoints: str) -> list[str]:
    """What is found for each checkpoint, '' for the published TERA, by a process that reads the hub's address at its start."""
    code = (
        "import sys, upstream\n"
        "for text in sys.argv[1:]:\n"
        "    published = upstream.card('tera').published\n"
        "    try: print(upstream.find_checkpoint(text) if text else upstream.published_checkpoint('tera', published))\n"
        "    except upstream.UpstreamError as error: print(error)\n"
    )
    environment = os.environ | {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0", "HF_HOME": str(cache), "PYTHONPATH": str(repository)}
    environment["NO_PROXY"] = "127.0.0.1"
    command = [sys.executable, "-c", code, *checkpoints]
    return subprocess.run(command, env=environment, cwd=cache, capture_output=True, text=True, check=True).stdout.splitlines()


def test_hub_serves_native_folders_single_files_and_the_published_model(hub: str, tmp_path: Path, repository: Path) -> None:
    model = make.tera()
    model.save_native(tmp_path / "hub" / "someone" / "tera")
    published = tmp_path / "hub" / "s3prl" / "tera" / PUBLISHED
    published.parent.mkdir(parents=True)
    write_s3prl(published, model.config, model.encoder.state_dict())
    url = f"https://huggingface.co/s3prl/tera/resolve/main/{PUBLISHED}"
    found = find_in_process(hub, tmp_path, repository, "someone/tera", f"s3prl/tera/{PUBLISHED}", "", url)
    assert len(found) == 4
    for path in found:
        assert upstream.fingerprint(upstream.load("tera", path)) == upstream.fingerprint(model)
    nobody = "http://127.0.0.1:9"
    assert find_in_process(nobody, tmp_path, repository, "", "someone/tera") == [found[2], found[0]]  # from the cache


def test_hub_failures_are_one_clear_error(hub: str, tmp_path: Path, repository: Path) -> None:
    (tmp_path / "hub" / "someone" / "empty").mkdir(parents=True)
    missing, empty = find_in_process(hub, tmp_path, repository, "someone/none", "someone/empty")
    assert missing.startswith("checkpoint, no path on this machine: 'config.json' of 'someone/none' (revision main) on the hub: ")
    assert "there is no such public repository" in missing
    assert "the repository has no such file; name one as -k someone/empty/FILE" in empty
    (silent,) = find_in_process("http://127.0.0.1:9", tmp_path, repository, "")
    assert silent.startswith(f"tera: the published checkpoint '{PUBLISHED}' of 's3prl/tera' (revision main) on the hub: could not")
    assert silent.endswith("give a checkpoint on this machine with -k PATH")


def test_shipped_names_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate, "SHIPPED", tmp_path)
    assert upstream.shipped_for("tera") is None
    model = make.tera()
    model.save_native(tmp_path / "tera-mini")
    assert upstream.shipped_for("tera_960hr") == "tera-mini"
    assert upstream.fingerprint(upstream.load("tera", "tera-mini")) == upstream.fingerprint(model)
    with pytest.raises(UpstreamError, match="unknown checkpoint 'tera-mimi': did you mean 'tera-mini'"):
        upstream.load("tera", "tera-mimi")


def test_folder_with_one_checkpoint_is_that_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "log.txt").touch()
    with pytest.raises(UpstreamError, match="no checkpoint"):
        upstream.find_checkpoint(tmp_path)
    one = tmp_path / "states-1.ckpt"
    one.touch()
    assert upstream.find_checkpoint(tmp_path) == one
    (tmp_path / "states-2.ckpt").touch()
    with pytest.raises(UpstreamError, match=r"2 checkpoints \(states-1.ckpt, states-2.ckpt\)"):
        upstream.find_checkpoint(str(tmp_path))


@pytest.mark.parametrize(
    ("checkpoint", "words"),
    [
        ("./none.ckpt", "there is no such file or folder"),
        ("/none/at/all", "there is no such file or folder"),
        ("states.ckpt", "there is no such file or folder"),
        ("word", "unknown checkpoint 'word'"),
        ("https://example.org/x.ckpt", "download the file and give its path"),
    ],
)
def test_places_that_do_not_exist_are_errors(checkpoint: str, words: str) -> None:
    with pytest.raises(UpstreamError, match=words):
        upstream.load("tera", checkpoint)


def test_checkpoint_for_an_encoder_without_weights_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UpstreamError, match="upstream 'fbank' takes no checkpoint, but was given '/x/y.ckpt'"):
        upstream.load("fbank", "/x/y.ckpt")


def test_local_alias_needs_a_checkpoint() -> None:
    with pytest.raises(UpstreamError, match="upstream 'tera_local' needs a checkpoint: give it with -k, or use 'tera'"):
        upstream.load("tera_local")


def test_unknown_padding_is_an_error() -> None:
    with pytest.raises(UpstreamError, match="padding 'zeros' is not known; known: alone, reference"):
        upstream.load("fbank", padding="zeros")  # type: ignore[arg-type]
