"""`docs/own_encoder.md`, as written: its files are saved, installed and run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "own_encoder.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    """The first code block of a language."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)
    assert found
    return found[1]


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """The page's two files, and an environment in which `pip install .` goes into a folder of its own."""
    (tmp_path / "my_encoder.py").write_text(block("python"))
    (tmp_path / "pyproject.toml").write_text(block("toml"))
    site = tmp_path / "site"
    environment = {
        **os.environ,
        "PIP_TARGET": str(site),
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_NO_DEPS": "1",
        "PIP_NO_INDEX": "1",
        "PIP_QUIET": "1",
        "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    return tmp_path, environment


def run(command: str, place: tuple[Path, dict[str, str]]) -> str:
    """Run one of the page's lines in the folder of its files; returns what it printed."""
    folder, environment = place
    words = command.replace("run_downstream.py", str(ROOT / "run_downstream.py")).split()
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_encoder_takes_no_more_than_twenty_lines() -> None:
    lines = [line for line in block("python").splitlines() if line.strip()]
    assert len(lines) <= 20


@pytest.mark.slow
def test_the_page_works_as_written(place: tuple[Path, dict[str, str]]) -> None:
    pytest.importorskip("espeakng_loader", reason="the built-in speech needs the demo extra")
    for command in block("sh").splitlines():
        printed = run(command, place)
        if "certify" in command:
            assert "change nothing" in printed
    results = json.loads((place[0] / "result/downstream/ks-my_encoder/results.json").read_text())
    assert results["upstream"] == "my_encoder" and results["splits"]["test"]["metrics"]["acc"]["value"] > 20
    assert "my_encoder" in run("python run_downstream.py --list", place)
    assert "my_encoder" in run("python run_downstream.py --describe my_encoder", place)
