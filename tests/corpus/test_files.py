"""Files appear whole or not at all, and a failed write says what to do."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from corpus.cache import cache_dir
from corpus.errors import DataError
from corpus.files import remove_unfinished, write_atomically


@pytest.mark.parametrize("content", [b"new", "new", lambda path: path.write_text("new")])
def test_content_is_written_and_nothing_else_remains(tmp_path, content):
    target = tmp_path / "made" / "a.txt"
    write_atomically(target, "old")
    write_atomically(target, content)
    assert target.read_text() == "new"
    assert os.listdir(target.parent) == ["a.txt"]


def test_a_function_writes_beside_the_target_under_its_suffix(tmp_path):
    seen = []
    write_atomically(tmp_path / "a.jsonl.gz", lambda path: (seen.append(path), path.touch()))
    assert seen[0].parent == tmp_path and seen[0].name.endswith(".jsonl.gz")
    assert not list(tmp_path.glob(".*"))


def test_a_failed_write_leaves_the_old_file(tmp_path):
    write_atomically(tmp_path / "a", "old")

    def fail(path):
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a", fail)
    assert (tmp_path / "a").read_text() == "old" and os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("writer: No space left on device"), OSError(errno.EDQUOT, "quota")],
)
def test_a_full_disk_is_named_with_a_remedy(tmp_path, error):
    def fail(path):
        raise error

    with pytest.raises(DataError, match=r"no space left to write .*a\.ckpt: free some"):
        write_atomically(tmp_path / "a.ckpt", fail)
    assert os.listdir(tmp_path) == []


def test_other_failures_are_named_and_bugs_stay_bugs(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write .*file/a"):
        write_atomically(tmp_path / "file" / "a", "x")
    with pytest.raises(ZeroDivisionError):
        write_atomically(tmp_path / "a", lambda path: 1 / 0)


def test_a_kill_while_writing_leaves_the_old_file(tmp_path, repository):
    write_atomically(tmp_path / "a", "old")
    code = (
        "import sys, time; from pathlib import Path; from corpus.files import write_atomically\n"
        "def slowly(path):\n    path.write_text('half'); time.sleep(60)\n"
        "write_atomically(Path(sys.argv[1]), slowly)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "a")], cwd=repository)
    deadline = time.monotonic() + 30
    while len(os.listdir(tmp_path)) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(os.listdir(tmp_path)) == 2 and (tmp_path / "a").read_text() == "old"
    remove_unfinished(tmp_path)
    assert os.listdir(tmp_path) == ["a"]


def test_the_cache_is_where_the_user_says(tmp_path, monkeypatch):
    monkeypatch.setenv("WEIR_CACHE", str(tmp_path / "here"))
    assert cache_dir() == tmp_path / "here" and not cache_dir().exists()
    monkeypatch.delenv("WEIR_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "weir"
