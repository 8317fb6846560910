"""The pre-training command, end to end on a second of speech."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import run_pretrain
from engine import checkpoint
from tests.engine import make
from tests.engine.make import Outcome
from tests.engine.test_trainer import assert_same, without_clock

FEW = (
    "config.runner.total_steps=4,,config.runner.save_step=2,,config.runner.log_step=2,,config.runner.max_keep=9,,"
    "config.corpus.splits=[train-clean-100],,config.corpus.batching.batch_size=3,,config.model.transformer.hidden_size=32,,"
    "config.model.transformer.num_hidden_layers=1,,config.model.transformer.num_attention_heads=2,,"
    "config.model.transformer.intermediate_size=48"
)


@pytest.fixture
def pretrain(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: Path) -> Callable[..., Outcome]:
    """`pretrain(folder, more words)`: four updates of a small TERA."""
    monkeypatch.chdir(tmp_path)

    def command(folder: Path, *words: object, override: str = FEW) -> Outcome:
        make.forget_accelerator()
        capsys.readouterr()
        given = ["-u", "tera", "--data", data, "-p", folder, "--device", "cpu", "-o", override, *words]
        status = run_pretrain.main([str(word) for word in given])
        out, err = capsys.readouterr()
        return Outcome(status, out, err)

    return command


def test_run_ends_with_an_upstream_that_the_downstream_command_takes(
    pretrain: Callable[..., Outcome], weir: Callable[..., Outcome], tmp_path: Path, data: Path
) -> None:
    outcome = pretrain(tmp_path / "pre")
    assert outcome.status == 0, outcome.err
    config = json.loads((tmp_path / "pre" / "config.json").read_text())
    assert config["family"] == "tera" and config["notes"]["steps"] == 4 and config["notes"]["demo"] is False
    assert [line["step"] for line in make.lines(tmp_path / "pre", "train")] == [2, 4]
    left = {path.name for path in (tmp_path / "pre").iterdir()}
    assert {"config.yaml", "log.txt", "states-2.ckpt", "states-4.ckpt", "model.safetensors"} <= left
    outcome = weir(*make.train_words(tmp_path / "run", data, tmp_path / "pre", runner__total_steps=1))
    assert outcome.status == 0, outcome.err


def test_what_is_saved_is_what_was_trained_in_half_precision(pretrain: Callable[..., Outcome], tmp_path: Path) -> None:
    import torch

    import upstream

    assert pretrain(tmp_path / "pre").status == 0
    trained = checkpoint.load(tmp_path / "pre" / "states-4.ckpt")["Transformer"]
    saved = upstream.load("tera", tmp_path / "pre").encoder.state_dict()  # type: ignore[union-attr]
    assert saved.keys() == trained.keys() and all(torch.equal(saved[name], trained[name].half().float()) for name in saved)


def test_run_that_goes_on_equals_one_that_was_not_interrupted(pretrain: Callable[..., Outcome], tmp_path: Path) -> None:
    assert pretrain(tmp_path / "whole").status == 0
    assert pretrain(tmp_path / "cut").status == 0
    for name in ("states-4.ckpt", "model.safetensors", "config.json"):
        (tmp_path / "cut" / name).unlink()
    assert pretrain(tmp_path / "cut", "-a").status == 0
    one, two = (checkpoint.load(tmp_path / name / "states-4.ckpt") for name in ("whole", "cut"))
    assert_same(without_clock(one), without_clock(two))
    assert (tmp_path / "whole" / "model.safetensors").read_bytes() == (tmp_path / "cut" / "model.safetensors").read_bytes()
    assert make.lines(tmp_path / "whole") == make.lines(tmp_path / "cut")


def test_folder_that_holds_a_run_is_refused_and_other_settings_too(pretrain: Callable[..., Outcome], tmp_path: Path) -> None:
    assert pretrain(tmp_path / "pre").status == 0
    for words, override, named in (
        ([], FEW, "--overwrite"),
        (["-a", "--seed", "3"], FEW, "seed"),
        (["-a"], FEW + ",,config.optimizer.lr=1", "optimizer"),
    ):
        outcome = pretrain(tmp_path / "pre", *words, override=override)
        assert outcome.status == 2 and named in outcome.err and "Traceback" not in outcome.err


@pytest.mark.parametrize(
    "override, named",
    [
        ("config.model.task.mask_proportin=1", "mask_proportin"),
        ("config.model.corruption.noise=2", "noise"),
        ("config.model.transformer.num_attention_heads=5", "heads"),
        ("config.corpus.splits=[train-clean-1]", "train-clean-1"),
        ("config.corpus.splits=[train-other-500]", "train-other-500"),
    ],
)
def test_mistakes_are_one_error_and_leave_no_folder(pretrain: Callable[..., Outcome], tmp_path: Path, override: str, named: str) -> None:
    outcome = pretrain(tmp_path / "pre", override=f"{FEW},,{override}")
    assert outcome.status == 2 and named in outcome.err and "Traceback" not in outcome.err
    assert not (tmp_path / "pre").exists()
