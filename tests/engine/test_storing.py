"""Whether a run stores, what it says of it, and that storing changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import sources, stores
from engine.config import Store as StoreConfig
from engine.errors import ConfigError
from engine.store import choosing
from tests.conftest import ROOT
from tests.engine import make
from tests.upstream.make import wav2vec2
from upstream.wav2vec2 import Wav2Vec2

Run = Callable[..., make.Outcome]
PLAIN = {"reduction": "pooled", "exact": True, "why": "the head needs no more than the mean over valid frames", "padding": "none"}
FIFTY = "config.runner.total_steps=50,,config.runner.log_step=1,,config.runner.eval_step=25,,config.runner.save_step=50"


def train(run: Run, name: str, *more: object) -> make.Outcome:
    outcome = run("-m", "train", "-u", "tera", "-k", "ENCODER", "-d", "toy", "-n", name, *more)
    assert outcome.status == 0, outcome.err
    return outcome


def place(name: str) -> Path:
    return Path("result/downstream") / name


def results(name: str) -> dict[str, Any]:
    return json.loads((place(name) / "results.json").read_text())


def losses(name: str) -> list[float]:
    return [line["loss"] for line in make.lines(place(name), "train")]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache."""
    monkeypatch.setenv("WEIR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("protocol", ["superb", "corrected"])
def test_fifty_steps_on_stored_means_equal_fifty_live(run: Run, protocol: str) -> None:
    """Same losses: the quirk of counted frames, which is superb's, is in the stored mean."""
    changed = ("-o", f"{FIFTY},,config.protocol={protocol}")
    train(run, "live", *changed, "--store", "off")
    outcome = train(run, "stored", *changed)
    assert "train: means over frames are encoded once and stored" in outcome.err
    assert losses("stored") == pytest.approx(losses("live"), rel=1e-6) and len(losses("live")) == 50
    assert results("stored")["store"] == PLAIN
    assert results("live")["store"] == {"reduction": "live", "exact": True, "why": "--store off", "padding": "none"}
    one, two = (torch.load(place(name) / "states-50.ckpt", weights_only=True)["Downstream"] for name in ("live", "stored"))
    for key, tensor in one.items():
        torch.testing.assert_close(tensor, two[key], rtol=1e-4, atol=1e-5)


def test_frames_are_stored_where_the_means_are_not_enough(run: Run) -> None:
    train(run, "live", "--upstream_feature_normalize", "--store", "off")
    outcome = train(run, "stored", "--upstream_feature_normalize")
    assert "train: frames are encoded once and stored" in outcome.err and results("stored")["store"]["reduction"] == "frames"
    assert losses("stored") == pytest.approx(losses("live"), rel=1e-6)
    refused = run("-m", "train", "-u", "tera", "-k", "ENCODER", "-d", "toy", "--upstream_feature_normalize", "--store", "pooled")
    assert refused.status == 2 and "needs every frame" in refused.err and not place("toy-tera-small").exists()


def test_frames_in_half_precision_are_said_to_be_rounded(run: Run) -> None:
    train(run, "live", "--store", "off")
    train(run, "half", "--store", "frames", "-o", "config.store.dtype=float16")
    found = results("half")["store"]
    assert found["exact"] is False and "rounded to float16" in found["why"]
    assert losses("half") == pytest.approx(losses("live"), rel=1e-2)
    assert (
        "train: frames in float16 are read from the store"
        in train(run, "again", "--store", "frames", "-o", "config.store.dtype=float16").err
    )


def test_stored_parts_train_from_the_store_alone_and_say_that_it_is_another_protocol(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(self: sources.Live, cuts: Any) -> None:
        pytest.fail("audio was read")

    parts = ("-o", "config.corpus.seconds=1.0,,config.store.crops=2,,config.runner.eval_dataloaders=[]")
    train(run, "first", *parts)
    with monkeypatch.context() as patched:
        patched.setattr(sources.Live, "load", encode)
        train(run, "second", *parts)
    assert losses("first") == losses("second")
    found = results("first")["store"] if (place("first") / "results.json").exists() else None
    state = torch.load(place("first") / "states-6.ckpt", weights_only=True)["Store"]["train"]
    assert found is None and state["exact"] is False and "2 stored parts" in state["why"]
    train(run, "new", "-o", "config.corpus.seconds=1.0")
    assert torch.load(place("new") / "states-6.ckpt", weights_only=True)["Store"]["train"]["exact"] is True


def test_resumed_run_does_as_it_did_whatever_would_be_chosen_now(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = ("--upstream_feature_normalize", "-o", "config.runner.max_keep=9")
    monkeypatch.setattr(choosing, "SMALL", 0)
    monkeypatch.setattr(sources, "measure_speed", lambda frozen, batches: 1e12)
    outcome = train(run, "toy", *frames)
    assert "encoded at every step" in outcome.err and "x real time, reading at" in outcome.err
    assert results("toy")["store"]["why"] == "storing saves no time"
    monkeypatch.setattr(sources, "measure_speed", lambda frozen, batches: 1e-12)
    whole = torch.load(place("toy") / "states-6.ckpt", weights_only=True)
    again = run("-m", "train", "-e", place("toy") / "states-4.ckpt", "-p", "again")
    assert again.status == 0 and "storing saves no time, as before" in again.err
    resumed = torch.load("again/states-6.ckpt", weights_only=True)
    assert resumed["Store"] == whole["Store"]
    for name, tensor in whole["Downstream"].items():
        assert torch.equal(tensor, resumed["Downstream"][name])
    asked = run("-m", "train", "-e", place("toy") / "states-4.ckpt", "-p", "asked", "--store-limit", "1G")
    assert asked.status == 0 and "train: frames are encoded once and stored" in asked.err


def test_evaluation_and_search_say_where_their_representations_came_from(run: Run) -> None:
    train(run, "toy")
    assert run("-m", "evaluate", "-e", place("toy")).status == 0
    assert run("-m", "evaluate", "-e", place("toy"), "-t", "dev", "--store", "auto").status == 0
    splits = results("toy")["splits"]
    assert splits["test"]["store"]["reduction"] == "live" and splits["dev"]["store"] == PLAIN
    assert run("-m", "evaluate", "-u", "tera", "-k", "ENCODER", "-d", "toysearch", "-n", "search").status == 0
    assert results("search")["store"]["reduction"] == results("search")["splits"]["test"]["store"]["reduction"] == "frames"


def test_damaged_store_is_one_error_and_made_again_after_verifying(run: Run, cache: Path) -> None:
    train(run, "first")
    for shard in cache.rglob("00000.bin"):
        shard.write_bytes(shard.read_bytes()[:-4])
    refused = run("-m", "train", "-u", "tera", "-k", "ENCODER", "-d", "toy", "-n", "second")
    assert refused.status == 2 and "is damaged" in refused.err and "--store-verify" in refused.err
    assert stores.verify()[1] == 2
    assert "encoded once and stored" in train(run, "second").err
    assert losses("first") == losses("second")


def test_run_through_the_packed_forward_trains_as_through_the_plain_one(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And their stores are two."""
    wav2vec2("hubert").save_native(tmp_path / "hubert")
    words = ("-m", "train", "-u", "hubert", "-k", tmp_path / "hubert", "-d", "toy", "-o", FIFTY)
    assert run(*words, "-n", "packed").status == 0
    monkeypatch.setattr(Wav2Vec2, "frozen", lambda self, precision: None)
    plain = run(*words, "-n", "plain")
    assert plain.status == 0 and "train: means over frames are encoded once and stored" in plain.err
    assert losses("packed") == pytest.approx(losses("plain"), rel=1e-6) and len(losses("plain")) == 50


def test_frames_of_a_forward_in_bfloat16_are_stored_in_it_and_exact(run: Run, tmp_path: Path, cache: Path) -> None:
    wav2vec2("hubert").save_native(tmp_path / "hubert")
    words = ("-m", "train", "-u", "hubert", "-k", tmp_path / "hubert", "-d", "toy", "--precision", "bf16", "--upstream_feature_normalize")
    for name, store in (("live", "off"), ("stored", "frames")):
        outcome = run(*words, "-n", name, "--store", store)
        assert outcome.status == 0 and outcome.err.count("differ from fp32 by at most") == 1
    assert losses("stored") == losses("live")
    assert results("stored")["store"]["exact"] is True and "frames in bfloat16 are encoded" in outcome.err


def demand(size: int, uses: float = 10, written: int = 0) -> choosing.Demand:
    return choosing.Demand(size, written, 3600.0, uses)


def test_rules_of_room(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choosing.room(StoreConfig(limit="1K"), demand(1024))[0]
    fits, why = choosing.room(StoreConfig(limit="1K"), demand(1025))
    assert not fits and "do not fit" in why
    assert choosing.room(StoreConfig(mode="frames", limit="1K"), demand(1024))[0]
    with pytest.raises(ConfigError, match="--store frames: .* raise --store-limit"):
        choosing.room(StoreConfig(mode="frames", limit="1K"), demand(1025))
    monkeypatch.setattr(choosing.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    assert choosing.room(StoreConfig(), demand(500))[0] and not choosing.room(StoreConfig(), demand(501))[0]
    assert choosing.room(StoreConfig(), demand(600, written=200))[0]  # what a killed run wrote was free when it began


def test_frames_are_stored_where_reading_them_is_faster_over_all_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "read_speed", lambda folder: 1e9)
    hour = demand(3_600_000_000)  # read in 3.6 s: 1,000 x real time
    assert choosing.pays(hour, lambda: 100.0)[0]
    stored, why = choosing.pays(hour, lambda: 2000.0)
    assert not stored and "2,000 x real time, reading at 1,000 x" in why and "10 passes" in why
    assert not choosing.pays(demand(3_600_000_000, uses=1), lambda: pytest.fail("measured"))[0]
    assert choosing.pays(demand(1000, uses=1), lambda: pytest.fail("measured"))[0]
    assert not choosing.pays(demand(3_600_000_000, uses=1.05), lambda: 950.0)[0]
    monkeypatch.setattr(choosing, "read_speed", lambda folder: 0.0)
    assert not choosing.pays(hour, lambda: 1.0)[0]


def test_read_speed_is_measured_and_leaves_nothing(tmp_path: Path) -> None:
    assert choosing.read_speed(tmp_path / "absent" / "folder") > 1e6 and not list(tmp_path.iterdir())


TOGETHER = """
import sys
from engine.store import writing
from tests.engine import make

writing.LEAST_SECONDS = 2.0  # several shards of a few utterances
sys.exit(make.downstream(*sys.argv[1:]))
"""


@pytest.mark.slow
def test_two_processes_write_the_bytes_that_one_writes(tmp_path: Path, data: Path, encoder: Path) -> None:
    (tmp_path / "together.py").write_text(TOGETHER)
    found = []
    for processes in (1, 2):
        cache = tmp_path / f"cache{processes}"
        words = make.train_words(tmp_path / f"run{processes}", data, encoder, runner__eval_batch_seconds=2)
        launch = ["-m", "torch.distributed.run", "--nproc_per_node", processes, "--master_port", 29552, tmp_path / "together.py"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "WEIR_CACHE": str(cache)}
        done = subprocess.run([sys.executable, *map(str, [*launch, *words])], env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        stores = sorted((cache / "representations").rglob("*"))
        found.append({path.relative_to(cache): path.read_bytes() for path in stores if path.is_file()})
    assert found[0] == found[1] and sum(path.suffix == ".bin" and path.stem != "index" for path in found[0]) >= 5
