"""Heads of several learning rates and seeds, trained at once: each as if alone, one result for all."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy import stats

from engine import checkpoint, choice, sweep
from engine.errors import CheckpointError
from engine.stack import Stack
from tests.engine import make, toy

Run = Callable[..., make.Outcome]
FOLDER = Path("result/downstream/toy")
TRAIN = ("-m", "train", "-u", "tera", "-k", "ENCODER", "-n", "toy")
GRID = ("--sweep", "lr=1e-1,1e-3", "--seeds", "2")


def train(run: Run, task: str, *more: object) -> make.Outcome:
    outcome = run(*TRAIN, "-d", task, *more)
    assert outcome.status == 0, outcome.err
    return outcome


def results(folder: Path = FOLDER) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


def assert_close(one: Path, other: Path) -> None:
    """Two checkpoints with the same weights and moments, up to float error, which Adam enlarges where gradients are small."""
    first, second = checkpoint.load(one), checkpoint.load(other)
    for part in ("Featurizer", "Downstream"):
        for name, value in first[part].items():
            torch.testing.assert_close(value, second[part][name], rtol=1e-3, atol=1e-4)
    for number, state in first["Optimizer"]["state"].items():
        for name, value in state.items():
            torch.testing.assert_close(value, second["Optimizer"]["state"][number][name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("more", [(), ("-l", "1"), ("--store", "off"), ("-o", "config.runner.gradient_accumulate_steps=2")])
def test_each_head_learns_what_it_would_learn_alone(run: Run, more: tuple[str, ...]) -> None:
    train(run, "toy", *GRID, *more)
    override = ",,".join(["config.optimizer.lr=0.1", *(more[1:] if "-o" in more else [])])
    alone = [word for word in more if word not in ("-o", *more[1:])] if "-o" in more else list(more)
    assert run(*TRAIN[:-1], "alone", "-d", "toy", "--seed", "1338", "-o", override, *alone).status == 0
    head, other = FOLDER / "lr0.1-seed1338", Path("result/downstream/alone")
    for name in ("states-6.ckpt", "dev-best.ckpt"):
        assert_close(head / name, other / name)
    for mine, its in zip(make.lines(head), make.lines(other), strict=True):
        assert mine.pop("split") == its.pop("split") and mine == pytest.approx(its, rel=1e-5)
    assert results(head)["splits"]["dev"]["metrics"] == results(other)["splits"]["dev"]["metrics"]
    kept = results(head)["config"]
    assert kept["optimizer"]["lr"] == 0.1 and kept["args"]["seed"] == 1338


def test_heads_that_cannot_be_stacked_learn_what_they_would_learn_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stack, "serves", lambda trainers: False)
    train(run, "toy", *GRID)
    assert run(*TRAIN[:-1], "alone", "-d", "toy", "--seed", "1338", "-o", "config.optimizer.lr=0.001").status == 0
    one, other = (checkpoint.load(folder / "states-6.ckpt") for folder in (FOLDER / "lr0.001-seed1338", Path("result/downstream/alone")))
    for name, value in one["Downstream"].items():
        assert torch.equal(value, other["Downstream"][name])


def test_the_rate_is_chosen_on_dev_and_the_mean_over_its_seeds_reported(run: Run) -> None:
    train(run, "toy", "--sweep", "lr=1e-1,1e-6", "--seeds", "3")
    outcome = run("-m", "evaluate", "-e", FOLDER, "--json")
    assert outcome.status == 0, outcome.err
    found = json.loads((FOLDER / "rates.json").read_text())
    by_rate = {rate: [head["value"] for head in found["heads"] if head["rate"] == rate] for rate in (1e-1, 1e-6)}
    best = max(by_rate, key=lambda rate: statistics.fmean(by_rate[rate]))
    assert found["chosen"] == best and found["metric"] == "acc"
    chosen = [f"lr{best:g}-seed{seed}" for seed in (1337, 1338, 1339)]
    values = [results(FOLDER / name)["splits"]["test"]["metrics"]["acc"]["value"] for name in chosen]
    entry = json.loads(outcome.out)["splits"]["test"]["metrics"]["acc"]
    half = stats.t.interval(0.95, 2, loc=0, scale=stats.sem(values))[1] if len(set(values)) > 1 else 0.0
    assert entry["value"] == pytest.approx(statistics.fmean(values)) and entry["values"] == values
    assert entry["high"] - entry["value"] == pytest.approx(half) and entry["value"] - entry["low"] == pytest.approx(half)
    assert (FOLDER / "rates.png").read_bytes().startswith(b"\x89PNG")
    costs = [results(FOLDER / name)["cost"]["seconds"] for name in sweep.read(FOLDER).members]
    assert results()["cost"]["seconds"] == pytest.approx(sum(costs))
    others = [head["head"] for head in found["heads"] if head["head"] not in chosen]
    assert all("test" not in results(FOLDER / name)["splits"] for name in others)


def test_seeds_alone_take_the_configured_rate(run: Run) -> None:
    train(run, "toy", "--seeds", "2", "--seed", "5")
    assert sweep.read(FOLDER).members == ["seed5", "seed6"] and sweep.read(FOLDER).chosen == ["seed5", "seed6"]
    assert results(FOLDER / "seed6")["config"]["optimizer"]["lr"] == 1e-2 and sweep.read(FOLDER).rates == [1e-2, 1e-2]
    assert results()["seeds"] == [5, 6]
    assert not (FOLDER / "rates.png").exists()


def test_a_sweep_that_was_cut_short_goes_on_from_the_last_step_of_all(run: Run) -> None:
    train(run, "toy", *GRID)
    whole = checkpoint.load(FOLDER / "lr0.1-seed1337" / "states-6.ckpt")["Downstream"]
    for name in ("states-6.ckpt", "results.json", "dev-best.ckpt"):
        (FOLDER / "lr0.1-seed1337" / name).unlink()
    (FOLDER / "results.json").unlink()
    train(run, "toy", *GRID, "-a")
    again = checkpoint.load(FOLDER / "lr0.1-seed1337" / "states-6.ckpt")["Downstream"]
    assert all(torch.equal(value, again[name]) for name, value in whole.items())
    assert "finished" in train(run, "toy", *GRID, "-a").err
    for states in (FOLDER / "lr0.1-seed1337").glob("states-*.ckpt"):
        states.unlink()
    (FOLDER / "results.json").unlink()
    train(run, "toy", *GRID, "-a")
    assert (FOLDER / "lr0.1-seed1337" / "states-6.ckpt").exists()


@pytest.mark.parametrize("stacked", [True, False])
def test_a_head_whose_loss_is_not_a_number_stops_alone(run: Run, monkeypatch: pytest.MonkeyPatch, stacked: bool) -> None:
    if not stacked:
        monkeypatch.setattr(Stack, "serves", lambda trainers: False)
    outcome = train(run, "toy", "--sweep", "lr=1e30,1e-2", "-o", "config.runner.gradient_clipping=1e30")
    assert "lr1e30-seed1337 stops: its loss was not a number" in outcome.err
    found = sweep.read(FOLDER)
    assert list(found.stopped) == ["lr1e30-seed1337"] and found.chosen == ["lr0.01-seed1337"]
    assert run(*TRAIN[:-1], "alone", "-d", "toy", "-o", "config.runner.gradient_clipping=1e30").status == 0
    assert_close(FOLDER / "lr0.01-seed1337" / "states-6.ckpt", Path("result/downstream/alone/states-6.ckpt"))
    found.stopped["lr0.01-seed1337"] = "its loss was not a number (step 3)"
    sweep.write(FOLDER, found)
    with pytest.raises(CheckpointError, match="every learning rate has a head that stopped"):
        choice.choose(FOLDER, toy.Toy)


@pytest.mark.parametrize(
    "words, said",
    [
        (("--sweep", "rate=1"), "lr=1e-2"),
        (("--sweep", "lr=1,x"), "numbers"),
        (("--sweep", "lr=1,1.0"), "once"),
        (("--sweep", "lr=-1"), "greater than 0"),
        (("--seeds", "0"), "at least 1"),
        (("--seeds", "2", "-f"), "-f"),
        (("--seeds", "2", "--check"), "--check"),
        (("--seeds", "2", "-v", "all"), "give one of them"),
        (("--sweep", "lr=1", "-o", "config.optimizer.lr=2"), "give one of them"),
        (("--sweep", "lr=1", "-o", "config.optimizer={name: Adam, lr: 2}"), "give one of them"),
        (("--seeds", "2", "-o", "config.runner.eval_dataloaders=[]"), "dev"),
        (("--seeds", "2", "-o", "config.corpus.half=none"), "the second half has no dev"),
    ],
)
def test_what_makes_no_sense_is_refused(run: Run, words: tuple[str, ...], said: str) -> None:
    refused = run(*TRAIN, "-d", "toy", *words)
    assert refused.status == 2 and said in refused.err and not Path("result").exists()


def test_a_sweep_is_not_overwritten_or_changed_unasked(run: Run) -> None:
    train(run, "toy", *GRID)
    for words, said in (((), "--overwrite"), (("-a",), "name the same ones")):
        refused = run(*TRAIN, "-d", "toy", "--sweep", "lr=1e-1,1e-2", *words)
        assert refused.status == 2 and said in refused.err, refused.err
    layers = run(*TRAIN, "-d", "toy", "--layers", "all", "-a")
    assert layers.status == 2 and "name the same ones" in layers.err and sweep.read(FOLDER).kind == "rates"
    evaluated = run("-m", "evaluate", "-e", FOLDER, "--seeds", "2")
    assert evaluated.status == 2 and "-m train" in evaluated.err
    assert run(*TRAIN, "-d", "toy", "--overwrite").status == 0
    assert not (FOLDER / "lr0.1-seed1337").exists() and not (FOLDER / "rates.json").exists()


@pytest.mark.parametrize("stacked", [True, False])
def test_a_batch_that_is_bad_for_all_heads_stops_none(run: Run, monkeypatch: pytest.MonkeyPatch, stacked: bool) -> None:
    if not stacked:
        monkeypatch.setattr(Stack, "serves", lambda trainers: False)
    plain, first = toy.Toy.loss, []

    def poisoned(task: toy.Toy, output: torch.Tensor, labels: list[int]) -> torch.Tensor:
        batch = labels[:4]
        first.append(batch)
        return plain(task, output, labels) * (float("nan") if batch == first[0] else 1.0)

    monkeypatch.setattr(toy.Toy, "loss", poisoned)
    train(run, "toy", "--sweep", "lr=1e-1,1e-2")
    assert sweep.read(FOLDER).stopped == {}
    assert make.lines(FOLDER / "lr0.1-seed1337", "train")[-1]["skipped"] >= 1


def test_the_chosen_heads_stay_chosen_whatever_is_evaluated_later(run: Run) -> None:
    train(run, "toy", "--sweep", "lr=1e-1,1e-6", "--seeds", "2")
    chosen = sweep.read(FOLDER).chosen
    assert run("-m", "evaluate", "-e", FOLDER / chosen[0] / "states-2.ckpt", "-t", "dev").status == 0
    assert run("-m", "evaluate", "-e", FOLDER).status == 0
    assert sweep.read(FOLDER).chosen == chosen and "test" in results()["splits"]


def test_a_task_judged_on_test_reports_both_its_entries(run: Run) -> None:
    train(run, "toytest", "--seeds", "2")
    assert run("-m", "evaluate", "-e", FOLDER).status == 0
    assert set(results()["splits"]) == {"dev", "test", "test-dev-selected"}


@pytest.mark.parametrize(
    "change",
    [{"chosen": ["../victim"]}, {"members": "abc"}, {"task": 3}, {"rates": [1.0]}, {"kind": "other"}, {"stopped": {"nobody": "why"}}],
)
def test_a_forged_file_of_a_sweep_is_one_error(tmp_path: Path, change: dict[str, Any]) -> None:
    sound = {"kind": "rates", "task": "toy", "members": ["a", "b"], "rates": [0.1, 0.2], "stopped": {}, "chosen": ["a"]}
    (tmp_path / "sweep.json").write_text(json.dumps({**sound, **change}))
    with pytest.raises(CheckpointError, match=r"sweep\.json is broken"):
        sweep.read(tmp_path)
