"""`--store-list`, `--store-prune`, `--store-verify`: nothing in use goes, nothing damaged stays."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine import stores
from engine.store import layout
from engine.store.reading import Store
from tests.conftest import ROOT
from tests.engine import make
from tests.engine.test_commands import LIGHT
from tests.engine.test_store import content, encode, states, write

Weir = Callable[..., make.Outcome]


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Path, Path]:
    """A finished store and one that was cut short."""
    monkeypatch.setenv("WEIR_CACHE", str(tmp_path / "cache"))
    whole, part = layout.location("whole"), layout.location("part")
    write(whole)
    write(part)
    (part / "manifest.json").unlink()
    return whole, part


def age(folder: Path, days: float) -> None:
    for path in [*folder.iterdir(), folder]:
        os.utime(path, (time.time() - days * stores.DAY,) * 2)


def test_list_is_a_table_of_what_there_is(weir: Weir, there: tuple[Path, Path]) -> None:
    age(there[0], 3)
    outcome = weir("--store-list")
    assert outcome.status == 0
    header, rule, *rows, total = outcome.out.splitlines()
    assert header.split()[:2] == ["what", "reduction"] and set(rule) == {"-", " "}
    assert ["incomplete" in row for row in rows] == [True, False]  # the last used first
    assert all("letters" in row and "frames" in row and " 5 " in row for row in rows) and "3 d ago" in rows[1]
    assert there[0].name[:12] in rows[1] and total.startswith("2 in ")


def test_nothing_stored_is_said(weir: Weir, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WEIR_CACHE", str(tmp_path / "none"))
    for flag in ("--store-list", "--store-verify"):
        assert "nothing is stored" in weir(flag).out
    assert "nothing to remove" in weir("--store-prune").out and not (tmp_path / "none").exists()


def test_store_in_use_is_listed_so_and_kept(weir: Weir, there: tuple[Path, Path]) -> None:
    reader = Store(there[0])
    assert "in use" in weir("--store-list").out
    age(there[0], 10)
    assert "in use, kept" in weir("--store-prune", "--older-than", 1).out and layout.is_complete(there[0])
    del reader
    assert "removed" in weir("--store-prune", "--older-than", 1).out and not there[0].exists()


def test_store_that_is_being_written_is_kept(weir: Weir, there: tuple[Path, Path]) -> None:
    with layout.alone(there[1]):
        assert "being written" in weir("--store-list").out
        assert "in use, kept" in weir("--store-prune").out and there[1].exists()


def test_pruning_removes_what_no_run_finished_and_says_so(weir: Weir, there: tuple[Path, Path]) -> None:
    old = there[0].parent / "of-another-version"
    old.mkdir()
    (old / "states.bin").write_bytes(b"0000")
    outcome = weir("--store-prune")
    assert outcome.status == 0 and outcome.out.count("removed") == 2 and "written by another version" in outcome.out
    assert there[0].exists() and not there[1].exists() and not old.exists()


def test_opening_a_store_makes_it_young_again(there: tuple[Path, Path]) -> None:
    age(there[0], 10)
    Store(there[0])
    age(there[1], 10)
    assert "1 removed" not in stores.prune(5) and there[0].exists() and not there[1].exists()


@pytest.mark.parametrize("name", ["00001.bin", "index.bin"])
def test_verifying_takes_out_what_is_damaged_and_it_alone_is_made_again(weir: Weir, there: tuple[Path, Path], name: str) -> None:
    assert weir("--store-verify").status == 0
    changed = bytearray((there[0] / name).read_bytes())
    changed[-1] ^= 1
    (there[0] / name).write_bytes(changed)
    outcome = weir("--store-verify")
    assert outcome.status == 2 and "DAMAGED" in outcome.out and name in outcome.out
    assert not layout.is_complete(there[0])
    asked = []
    found = write(there[0], encode=lambda batches: asked.append(batches) or encode(batches))
    assert asked == ([content().shards[1]] if name == "00001.bin" else [])
    assert torch.equal(found.read(["é e"])[0].hidden_states[:, 0], states("é e"))
    assert weir("--store-verify").status == 0


def test_damaged_store_in_use_is_left_as_it_is(there: tuple[Path, Path]) -> None:
    reader = Store(there[0])
    (there[0] / "00001.bin").write_bytes(b"\0" * (there[0] / "00001.bin").stat().st_size)
    text, status = stores.verify()
    assert status == 2 and "in use, and left as it is" in text and layout.is_complete(there[0])
    del reader


@pytest.mark.parametrize(
    "words, named",
    [
        (["--store-list", "-u", "tera"], "--upstream"),
        (["--store-list", "--store-prune"], "--store-prune"),
        (["--store-list", "--older-than", "3"], "--older-than"),
        (["--older-than", "3"], "--store-prune"),
        (["--store-prune", "--older-than", "-3"], "number of days"),
    ],
)
def test_what_means_nothing_beside_is_refused(weir: Weir, words: list[str], named: str) -> None:
    outcome = weir(*words)
    assert outcome.status == 2 and named in outcome.err


def test_listing_brings_in_nothing_heavy(there: tuple[Path, Path]) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for flag in ("--store-list", "--store-verify", "--store-prune"):
        done = subprocess.run([sys.executable, "-c", LIGHT, flag], env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and "letters" in done.stdout and "HEAVY []" in done.stderr
