"""The scripts of `benchmarks/` import each other by name, as from that folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine import make


@pytest.fixture(autouse=True)
def scripts(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the scripts, where modules are found while a test runs."""
    make.forget_accelerator()
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    return repository / "benchmarks"
