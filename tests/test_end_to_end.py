"""The commands as a user types them: whole processes, kills, two processes, the built-in speech."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine import checkpoint, predictions
from tests.conftest import ROOT
from tests.engine import make
from tests.engine.test_trainer import assert_same, without_clock

pytestmark = pytest.mark.slow

SPLITS = {"train-clean-100": ("11", 16), "dev-clean": ("21", 3), "test-clean": ("31", 3)}
LONGER = {"runner__total_steps": 40, "runner__eval_step": 20, "runner__save_step": 5, "runner__log_step": 1, "runner__max_keep": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `LibriSpeech/` of tone bursts."""
    return make.speech(tmp_path_factory.mktemp("data"), SPLITS)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small TERA with random weights."""
    return make.encoder(tmp_path_factory.mktemp("encoder") / "small")


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def start(folder: Path, *words: object) -> subprocess.Popen[str]:
    """A command in a process group of its own."""
    command = [sys.executable, *map(str, words)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment(), stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def run(folder: Path, *words: object) -> str:
    """A command that must succeed. Returns its standard output."""
    process = start(folder, *words)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return out


def losses(folder: Path) -> dict[int, float]:
    return {line["step"]: line["loss"] for line in make.lines(folder, "train")}


def test_pretrain_train_evaluate_and_use_from_another_folder(tmp_path: Path, data: Path) -> None:
    small = (
        "config.runner.total_steps=6,,config.corpus.splits=[train-clean-100],,config.corpus.batching.batch_size=4,,"
        "config.model.transformer.hidden_size=32,,config.model.transformer.num_hidden_layers=1,,"
        "config.model.transformer.num_attention_heads=2,,config.model.transformer.intermediate_size=48"
    )
    run(tmp_path, ROOT / "run_pretrain.py", "-u", "tera", "--data", data, "-n", "mine", "-o", small)
    here = tmp_path / "result" / "downstream" / "asr-tera-mine"
    words = ["-m", "train", "-u", "tera", "-k", "result/pretrain/mine", "-d", "asr", "--data", data, "--preset", "mini"]
    run(tmp_path, ROOT / "run_downstream.py", *words, "-o", make.overrides())
    table = run(tmp_path, ROOT / "run_downstream.py", "-m", "evaluate", "-u", "tera", "-k", "result/pretrain/mine", "-d", "asr")
    assert "test-clean" in table and "demo" not in table
    one = json.loads(run(tmp_path, ROOT / "run_downstream.py", "-m", "evaluate", "-e", "result/downstream/asr-tera-mine", "--json"))
    found = json.loads((here / "results.json").read_text())["splits"]
    assert set(found) == {"dev-clean", "test-clean"} and one["splits"]["test-clean"]["metrics"] == found["test-clean"]["metrics"]
    assert len(predictions.read(here, "test-clean")) == 3
    clips = sorted((data / "LibriSpeech" / "test-clean").rglob("*.flac"))
    lines = run(tmp_path, ROOT / "run_downstream.py", "-m", "inference", "-e", here / "dev-clean-best.ckpt", "-t", *clips)
    assert [json.loads(line)["path"] for line in lines.splitlines()] == list(map(str, clips))


def test_run_that_is_killed_at_random_moments_equals_one_that_was_not(tmp_path: Path, data: Path, encoder: Path) -> None:
    def command(name: str) -> list[object]:
        slow = {"runner__gradient_accumulate_steps": 2, "head__hidden": 256, "head__projection": 128, "corpus__batching__batch_size": 4}
        words = make.train_words(tmp_path / name, data, encoder, **LONGER, **slow)
        return [ROOT / "run_downstream.py", *words]

    run(tmp_path, *command("whole"))
    draws, landed = random.Random(0), 0
    for step in (1, 8, 17, 26, 36):  # kill a moment after this step has been logged
        process = start(tmp_path, *command("killed"), "-a")
        log, deadline = tmp_path / "killed" / "metrics.jsonl", time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            text = log.read_text() if log.exists() else ""
            if f'"step": {step},' in text:
                time.sleep(draws.random() * 0.05)
                break
            time.sleep(0.003)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            landed += 1
        _, err = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), err
    assert landed >= 3
    run(tmp_path, *command("killed"), "-a")
    one, two = (checkpoint.load(tmp_path / name / "states-40.ckpt") for name in ("whole", "killed"))
    assert_same(without_clock(one), without_clock(two))
    assert make.lines(tmp_path / "whole") == make.lines(tmp_path / "killed")
    assert not [path.name for path in (tmp_path / "killed").iterdir() if path.name.startswith(".")]
    assert sorted(path.name for path in (tmp_path / "killed").glob("*.ckpt")) == ["dev-clean-best.ckpt", "states-40.ckpt"]


def test_two_processes_equal_one_that_accumulates_two(tmp_path: Path, data: Path, encoder: Path) -> None:
    options = {**LONGER, "runner__total_steps": 8, "runner__eval_step": 5}
    one = make.train_words(tmp_path / "one", data, encoder, **options, runner__gradient_accumulate_steps=2)
    two = make.train_words(tmp_path / "two", data, encoder, **options, runner__gradient_accumulate_steps=1)
    run(tmp_path, ROOT / "run_downstream.py", *one)
    run(tmp_path, "-m", "torch.distributed.run", "--nproc_per_node", 2, "--master_port", 29541, ROOT / "run_downstream.py", *two)
    first, second = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert first.keys() == second.keys() == set(range(1, 9))
    assert list(second.values()) == pytest.approx(list(first.values()), rel=1e-4)
    evaluated = [[line["wer"] for line in make.lines(tmp_path / name, "dev-clean")] for name in ("one", "two")]
    assert len(evaluated[0]) == len(evaluated[1]) == 2
    dev = [json.loads((tmp_path / name / "results.json").read_text())["splits"]["dev-clean"]["utterances"] for name in ("one", "two")]
    assert dev == [3, 3]  # each utterance once, whoever evaluated it


@pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None, reason="eSpeak NG is not installed")
def test_built_in_speech_trains_and_its_numbers_are_marked(tmp_path: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, on the edition of a second; the real one takes a minute to speak."""
    import engine.data
    from corpus.demo.editions.librispeech import TINY
    from corpus.demo.editions.librispeech import make as speak

    folder = speak(tmp_path / "cache", TINY)
    monkeypatch.setattr(engine.data, "make", {"librispeech": folder}.__getitem__)
    monkeypatch.chdir(tmp_path)
    words = make.train_words(tmp_path / "run", tmp_path, encoder)
    place = words.index("--data")
    words[place : place + 2] = ["--demo"]
    assert make.downstream(*words) == 0
    assert make.downstream("-m", "evaluate", "-e", tmp_path / "run") == 0
    found = json.loads((tmp_path / "run" / "results.json").read_text())
    assert found["demo"] is True and all(entry["demo"] for entry in found["splits"].values())
    assert "(demo)" in (tmp_path / "run" / "log.txt").read_text()
    make.forget_accelerator()
