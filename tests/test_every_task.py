"""Every task as a user runs it, on a tiny edition of its corpus in the real layout: train, evaluate, use, in both protocols."""

from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path

import pytest

import downstream
from corpus.cache import cache_dir
from engine.task import HeadTask
from tests.engine import make

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None, reason="eSpeak NG is not installed (extra: demo)"),
]

SPLIT_KEYS = {"metrics", "utterances", "checkpoint", "step", "selection", "demo", "date", "fingerprints", "versions", "cost", "store"}
FEW = "config.runner.total_steps=4,,config.runner.eval_step=2,,config.runner.save_step=2,,config.corpus.batching.batch_size=4"
OF_TINY_EDITION = {
    "sf": ",,config.corpus.train_speakers=[Ivy,Joanna],,config.corpus.dev_speakers=[Aditi,Amy],,config.corpus.test_speakers=[Brian,Emma]"
}
"""What tiny editions need said: that of Audio SNIPS has two voices a split."""

TRAINED = [name for name in downstream.registry.names() if issubclass(downstream.registry.load(name), HeadTask)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make.encoder(tmp_path_factory.mktemp("encoder") / "small")


def tiny(task: str) -> Path:
    """The folder of a tiny edition of a task's corpus."""
    edition = importlib.import_module(f"corpus.demo.editions.{downstream.registry.load(task).demo_corpus}")
    return edition.make(cache_dir(), edition.TINY)


def check_results(folder: Path, task: str) -> None:
    """What a run leaves is what the contract says, with intervals around the values."""
    record = json.loads((folder / "results.json").read_text())
    entry = record["splits"][downstream.registry.load(task).test_split]
    assert record["task"] == task and SPLIT_KEYS == entry.keys() and entry["utterances"] > 0
    assert all(found["low"] <= found["value"] <= found["high"] for found in entry["metrics"].values())
    rows = [
        json.loads(line)
        for line in (folder / "predictions" / f"{downstream.registry.load(task).test_split}.jsonl").read_text().splitlines()
    ]
    ids = [row["utt_id"] for row in rows]
    assert ids == sorted(set(ids))


@pytest.mark.parametrize("protocol", ["superb", "corrected"])
@pytest.mark.parametrize("task", TRAINED)
def test_task_trains_evaluates_and_is_used(
    task: str, protocol: str, tmp_path: Path, encoder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, folder = tiny(task), tmp_path / "run"
    words = ["-m", "train", "-u", "tera", "-k", encoder, "-d", task, "--data", data, "--preset", "mini", "--device", "cpu", "-p", folder]
    assert make.downstream(*words, "-o", f"{FEW},,config.protocol={protocol}{OF_TINY_EDITION.get(task, '')}") == 0
    assert make.downstream("-m", "evaluate", "-e", folder, "--device", "cpu") == 0
    check_results(folder, task)
    capsys.readouterr()
    clip = max([*data.rglob("*.wav"), *data.rglob("*.flac")], key=lambda path: path.stat().st_size)
    checkpoint = max(folder.glob("*.ckpt"), key=lambda path: path.stat().st_mtime)
    assert make.downstream("-m", "inference", "-e", checkpoint, "-t", clip, "--device", "cpu") == 0
    assert json.loads(capsys.readouterr().out).keys() == {"utt_id", "path", "prediction", "scores"}


@pytest.mark.parametrize("protocol", ["superb", "corrected"])
def test_query_by_example_searches_every_layer(protocol: str, tmp_path: Path, encoder: Path) -> None:
    words = ["-m", "evaluate", "-u", "tera", "-k", encoder, "-d", "qbe", "--data", tiny("qbe"), "--preset", "mini", "--device", "cpu"]
    assert make.downstream(*words, "-p", tmp_path / "run", "-o", f"config.protocol={protocol}") == 0
    check_results(tmp_path / "run", "qbe")


def test_cross_validation_runs_every_fold(tmp_path: Path, encoder: Path) -> None:
    words = ["-m", "train", "-u", "tera", "-k", encoder, "-d", "er", "--data", tiny("er"), "--preset", "mini", "--device", "cpu"]
    assert make.downstream(*words, "-p", tmp_path / "run", "-v", "all", "-o", FEW) == 0
    assert make.downstream("-m", "evaluate", "-e", tmp_path / "run", "--device", "cpu") == 0
    found = json.loads((tmp_path / "run" / "results.json").read_text())["splits"]["test"]["metrics"]["acc"]["value"]
    folds = [json.loads((tmp_path / "run" / f"fold{fold}" / "results.json").read_text())["splits"]["test"] for fold in range(1, 6)]
    assert found == pytest.approx(sum(fold["metrics"]["acc"]["value"] for fold in folds) / 5)
