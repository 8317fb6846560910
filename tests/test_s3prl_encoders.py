"""Encoders of s3prl as a user runs them: keyword spotting on a tiny edition of the demo corpus, trained and evaluated."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from corpus.cache import cache_dir
from corpus.demo.editions import speech_commands
from tests.engine import make
from tests.upstream.adapters import s3prl_files

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None, reason="eSpeak NG is not installed (extra: demo)"),
]

FEW = "config.runner.total_steps=4,,config.runner.eval_step=2,,config.runner.save_step=2,,config.corpus.batching.batch_size=4"


@pytest.fixture(scope="module")
def data() -> Path:
    """A tiny edition of Speech Commands."""
    return speech_commands.make(cache_dir(), speech_commands.TINY)


@pytest.mark.parametrize("member", [*s3prl_files.WRITERS, "fbank"])
def test_keyword_spotting_runs_on_an_encoder_of_s3prl(member: str, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    checkpoint = ["-k", s3prl_files.write(member, tmp_path)] if member in s3prl_files.WRITERS else []
    folder = tmp_path / "run"
    capfd.readouterr()  # what s3prl said while the checkpoint was made
    words = ["-m", "train", "-u", f"s3prl:{member}", *checkpoint, "-d", "ks", "--data", data, "--preset", "mini", "--device", "cpu"]
    assert make.downstream(*words, "-p", folder, "-o", FEW) == 0
    assert capfd.readouterr().out == ""
    assert make.downstream("-m", "evaluate", "-e", folder, "--device", "cpu") == 0
    entry = json.loads((folder / "results.json").read_text())["splits"]["test"]
    assert entry["utterances"] > 0
    assert 0 <= entry["metrics"]["acc"]["value"] <= 100
