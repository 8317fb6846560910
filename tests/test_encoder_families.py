"""Every family of encoders at its published size, with random weights, under a downstream task on tiny editions of the corpora."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import upstream
from tests.engine import make
from tests.test_every_task import FEW, check_results, tiny

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None, reason="eSpeak NG is not installed (extra: demo)"),
]

OWN = [name for name in upstream.families() if upstream.card(name).takes_checkpoint and not upstream.card(name).members and name != "hf"]


def trained_and_evaluated(name: str, checkpoint: Path, task: str, folder: Path) -> None:
    """A few steps of the mini recipe, and the evaluation, both from the command line."""
    words = ["-m", "train", "-u", name, "-k", checkpoint, "-d", task, "--data", tiny(task), "--preset", "mini", "--device", "cpu"]
    assert make.downstream(*words, "-p", folder, "-o", FEW) == 0
    assert make.downstream("-m", "evaluate", "-e", folder, "--device", "cpu") == 0
    check_results(folder, task)


@pytest.mark.parametrize("name", OWN)
def test_published_size_carries_phone_recognition(name: str, tmp_path: Path) -> None:
    upstream.build(name).save_native(tmp_path / "checkpoint")  # type: ignore[operator]
    trained_and_evaluated(name, tmp_path / "checkpoint", "pr", tmp_path / "run")
