"""Rules about the tree that the import contract in `pyproject.toml` cannot say."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("corpus", "downstream", "engine", "pretrain", "report", "upstream")
FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def imported(path: Path) -> Iterator[str]:
    """Modules that a file imports, wherever in it; `from engine import task` gives engine.task."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_nothing_imports_an_entry_point():
    entries = {path.stem for path in ROOT.glob("*.py")}
    assert entries
    assert not [(path.name, name) for path in FILES for name in imported(path) if name.partition(".")[0] in entries]


def test_the_interfaces_of_tasks_and_objectives_stand_on_corpus_and_upstream_alone():
    names = {name for name in imported(ROOT / "engine" / "task.py") if not name.startswith("engine.errors")}
    assert {name.partition(".")[0] for name in names} & set(ROOMS) <= {"corpus", "upstream"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_begins_by_saying_what_it_is_for(path):
    text = path.read_text(encoding="utf-8")
    assert not text.strip() or ast.get_docstring(ast.parse(text))
