"""What the benchmarks share: timing in turns, tables, corpora, and s3prl's heads with our weights."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from corpus import manifest
from downstream.heads import LinearCTC, MeanPoolingClassifier, RecurrentCTC

LENGTHS = torch.tensor([7, 9, 4])


def module(name: str) -> Any:
    """A file of `benchmarks/`."""
    return importlib.import_module(name)


def test_variants_are_timed_in_turns_after_a_warm_up() -> None:
    called: list[str] = []
    times = module("_machine").interleaved({name: lambda name=name: called.append(name) for name in "ab"}, 3)
    assert called == ["a", "b"] * 4
    assert all(len(taken.rounds) == 3 and 0 < taken.min <= taken.median for taken in times.values())


def test_a_variant_may_time_itself() -> None:
    machine = module("_machine")
    assert machine.interleaved({"own": lambda: machine.Seconds(42)}, 2)["own"].rounds == (42.0, 42.0)


def test_a_table_has_even_columns() -> None:
    lines = module("_machine").table(("a", "long head"), [["long cell", "b"]]).splitlines()
    assert len(set(map(len, lines))) == 1 and lines[2] == "| long cell | b         |"


def test_the_corpus_is_files_of_the_asked_length_that_a_manifest_lists(tmp_path: Path) -> None:
    loop = module("_loop")
    path = loop.write_corpus(tmp_path / "corpus", [loop.Utterance(0.5, "YES"), loop.Utterance(0.25, "NO")])
    cuts = list(manifest.read(path, required=("text",)))
    assert [(cut.duration, cut.supervisions[0].text) for cut in cuts] == [(0.5, "YES"), (0.25, "NO")]


def test_the_cache_is_the_users_again_behind_a_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv("WEIR_CACHE", "/of/the/user")
    with module("_loop").own_cache():
        assert os.environ["WEIR_CACHE"] != "/of/the/user"
    assert os.environ["WEIR_CACHE"] == "/of/the/user"


HEADS: dict[str, Callable[[Any], tuple[nn.Module, nn.Module]]] = {
    "pooled": lambda s3prl: (MeanPoolingClassifier(6, 5, projection=4), s3prl.pooled_head(6, 4, 5)),
    "linear": lambda s3prl: (LinearCTC(6, 320, 5, projection=4), s3prl.linear_head(6, 4, 5)),
    "recurrent": lambda s3prl: (
        RecurrentCTC(6, 320, 5, projection=4, hidden=3, layers=2, dropout=0.5),
        s3prl.recurrent_head(6, 4, 5, hidden=3, layers=2, dropout=0.5),
    ),
}


@pytest.mark.parametrize("kind", HEADS)
def test_the_peers_head_with_our_weights_gives_our_output(kind: str) -> None:
    ours, peers = HEADS[kind](module("_s3prl"))
    features = [torch.randn(length, 6) for length in LENGTHS.tolist()]
    with torch.no_grad():
        own = ours.eval()(nn.utils.rnn.pad_sequence(features, batch_first=True), LENGTHS)
        peer = peers.take(ours.state_dict()).eval()(features)
    if kind != "pooled":
        own, peer = ([row[:length] for row, length in zip(logits, LENGTHS, strict=True)] for logits, _ in (own, peer))
        own, peer = torch.cat(own), torch.cat(peer)
    torch.testing.assert_close(own, peer, rtol=1e-5, atol=1e-6)


def test_losses_differ_by_the_largest_share_of_a_step() -> None:
    assert module("utterance").difference([1.0, 2.0, 3.3], [1.0, 2.0, 3.0]) == pytest.approx(0.1)


def test_an_experiment_is_one_representation_and_its_epochs() -> None:
    represent = module("_machine").Times((10.0, 12.0))
    text = module("utterance").experiment_table(represent, 0.01, 1.0, 2)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert ["20", "10.4", "40", "3.85"] in rows


def test_every_phone_of_the_benchmarks_lexicon_is_a_unit(tmp_path: Path) -> None:
    from corpus.units import PhoneUnits

    frame = module("frame")
    frame.write_lexicon(tmp_path / "lexicon.txt")
    units = PhoneUnits([tmp_path / "lexicon.txt"])
    spoken = frame.utterances((6.0, 14.0))
    assert [len(units.encode(each.text, tail=False)) for each in spoken] == [64, 152]
    assert [each.seconds for each in spoken] == [6.0, 14.0]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_the_peak_of_memory_is_that_since_it_was_forgotten() -> None:
    growth = module("growth")
    growth.forget_peak()
    before, block = growth.peak_memory(), bytearray(64 << 20)
    block[:: 1 << 12] = b"1" * len(block[:: 1 << 12])
    after = growth.peak_memory()
    del block
    growth.forget_peak()
    assert after - before > 60 << 20 and growth.peak_memory() < after - (30 << 20)
