"""Every benchmark explains itself and, slowly, runs."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))
IDS = {
    "utterance": {"pooled-step"},
    "frame": {"pr-step", "asr-step"},
    "forward": {"forward-fp32-equal", "forward-bf16-equal", "forward-fp32-mixed", "forward-bf16-mixed"},
    "startup": {"startup-help"},
    "sweep": {"sweep-25"},
    "growth": {"represent-memory", "represent-growth-pooled", "represent-growth-frames", "store-open"},
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_explains_its_flags(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    text = capsys.readouterr().out
    assert stop.value.code == 0 and all(flag in text for flag in ("--json", "--rounds", "--threads", "--quick"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_readme_names_a_script(name: str) -> None:
    assert f"`{name}.py`" in (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_runs_in_small_and_writes_its_rows(name: str, tmp_path: Path, repository: Path) -> None:
    path = tmp_path / "found.json"
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--quick", "--json", str(path)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["benchmark"] == name and {"cpu", "threads"} <= found["machine"].keys() and "torch" in found["versions"]
    assert {row["id"] for row in found["rows"]} >= IDS.get(name, set())
    assert all(row["ratio"] > 0 and row["unit"] for row in found["rows"])
