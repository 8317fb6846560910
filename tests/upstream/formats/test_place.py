"""A folder is put in place whole or not at all, and nothing is left beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from upstream.formats import place
from upstream.formats.place import _beside, replace_folder

# Writes a folder over the one that its argument names, and is killed at the beginning of the step that the second names.
KILLED = """
import os, sys
from pathlib import Path
from upstream.formats import place
from upstream.formats.place import replace_folder

folder, step = Path(sys.argv[1]), int(sys.argv[2])
rename, steps = Path.rename, []

def fill(new):
    for name in ("config.json", "model.safetensors"):
        (new / name).write_text("new")

def counted(self, target):
    steps.append(target)
    if len(steps) == step:
        os.kill(os.getpid(), 9)
    return rename(self, target)

Path.rename = counted
replace_folder(folder, fill)
"""


def fill(content: str, folder: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text(content)


@pytest.mark.parametrize("step", [1, 2], ids=["before the old one is moved aside", "before the new one is in place"])
def test_what_a_killed_process_left_is_cleared_by_the_next(step: int, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    fill("old", folder)
    run = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(step)], check=False)
    assert run.returncode == -9 and any(path.name.endswith(".tmp") for path in tmp_path.iterdir())

    def fails(_: Path) -> None:
        assert (folder / "config.json").read_text() == "old"
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        replace_folder(folder, fails)
    assert [path.name for path in tmp_path.iterdir()] == ["model"] and (folder / "config.json").read_text() == "old"


def test_what_a_process_that_runs_is_writing_stays(tmp_path: Path) -> None:
    others = _beside(tmp_path / "model", os.getppid(), "tmp")
    others.mkdir()
    replace_folder(tmp_path / "model", lambda folder: fill("new", folder))
    assert others.is_dir()


def test_everything_is_flushed_before_it_is_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    flush, rename = place._flush, Path.rename
    monkeypatch.setattr(place, "_flush", lambda path: (steps.append(path.name), flush(path)))
    monkeypatch.setattr(Path, "rename", lambda self, target: (steps.append("rename"), rename(self, target))[1])
    replace_folder(tmp_path / "model", lambda folder: fill("new", folder))
    new = _beside(tmp_path / "model", os.getpid(), "tmp").name
    assert sorted(steps[:2]) == ["config.json", "model.safetensors"] and steps[2:] == [new, "rename", tmp_path.name]
