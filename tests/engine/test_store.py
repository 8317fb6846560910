"""The store: what was written is read bit for bit, and nothing half-written is ever taken for a store."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import upstream
from corpus import librispeech
from corpus.batching import evaluation_batches
from engine import sources, store
from engine.config import Store as StoreConfig
from engine.errors import CheckpointError, ConfigError
from tests.engine import make
from upstream.base import Representation

SIZES = {"a": 5, "b": 3, "c": 1, "d": 7}


def batches() -> Iterator[tuple[list[str], Representation, Tensor]]:
    """Two batches of three states of four features, with garbage behind each utterance."""
    torch.manual_seed(0)
    for ids in (["a", "b"], ["c", "d"]):
        lengths = torch.tensor([SIZES[utt_id] for utt_id in ids])
        yield ids, Representation(torch.randn(3, 2, 7, 4), lengths), 160 * lengths


def test_what_was_written_is_read_bit_for_bit_in_any_order(tmp_path: Path) -> None:
    written = store.write(tmp_path / "s", 3, 4, batches())
    expected = {}
    for ids, representation, _ in batches():
        for row, utt_id in enumerate(ids):
            expected[utt_id] = representation.hidden_states[:, row, : SIZES[utt_id]]
    for found in (written, store.Store(tmp_path / "s")):
        for ids in (["a"], ["d", "a"], ["c", "b", "d", "a"]):
            representation, samples = found.read(ids)
            assert representation.lengths.tolist() == [SIZES[utt_id] for utt_id in ids]
            assert samples.tolist() == [160 * SIZES[utt_id] for utt_id in ids]
            assert representation.hidden_states.shape == (3, len(ids), max(SIZES[utt_id] for utt_id in ids), 4)
            for row, utt_id in enumerate(ids):
                assert torch.equal(representation.hidden_states[:, row, : SIZES[utt_id]], expected[utt_id])
                assert not representation.hidden_states[:, row, SIZES[utt_id] :].any()


def test_reading_gives_a_copy_that_may_be_changed(tmp_path: Path) -> None:
    found = store.write(tmp_path / "s", 3, 4, batches())
    before = found.read(["a"])[0].hidden_states.clone()
    found.read(["a"])[0].hidden_states.zero_()
    assert torch.equal(found.read(["a"])[0].hidden_states, before)


@pytest.mark.parametrize("change", [-4, 4])
def test_file_of_the_wrong_size_is_refused_with_the_remedy(tmp_path: Path, change: int) -> None:
    store.write(tmp_path / "s", 3, 4, batches())
    path = tmp_path / "s" / "states.bin"
    size = path.stat().st_size
    assert size == 4 * 3 * 4 * sum(SIZES.values())
    os.truncate(path, size + change)
    with pytest.raises(CheckpointError, match=f"has {size + change} bytes instead of {size}; remove the folder"):
        store.Store(tmp_path / "s")


@pytest.mark.parametrize("where", ["write", "fsync", "mkdir"])
def test_full_disk_is_one_error_and_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if where == "fsync":
        monkeypatch.setattr(store.os, "fsync", full)
    elif where == "mkdir":
        monkeypatch.setattr(Path, "mkdir", full)
    else:
        real = open

        def opened(path: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            file = real(path, mode, *arguments, **options)
            if mode == "wb":
                return _Full(file)
            return file

        monkeypatch.setattr("builtins.open", opened)
    with pytest.raises(CheckpointError, match="No space left on device.*--store off"):
        store.write(tmp_path / "s", 3, 4, batches())
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == []


class _Full:
    def __init__(self, file: Any) -> None:
        self.file = file

    def __enter__(self) -> _Full:
        return self

    def __exit__(self, *details: Any) -> None:
        self.file.close()

    def write(self, content: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_error_while_encoding_leaves_no_folder(tmp_path: Path) -> None:
    def broken() -> Iterator[tuple[list[str], Representation, Tensor]]:
        yield next(batches())
        raise RuntimeError("audio")

    with pytest.raises(RuntimeError, match="audio"):
        store.write(tmp_path / "s", 3, 4, broken())
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == []


def test_store_that_another_process_finished_first_is_kept(tmp_path: Path) -> None:
    first = store.write(tmp_path / "s", 3, 4, batches())
    again = store.write(tmp_path / "s", 3, 4, batches())
    assert first.entries == again.entries
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == ["s"]


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    leftover = tmp_path / ".s.making-0123"
    leftover.mkdir()
    store.write(tmp_path / "s", 3, 4, batches())
    assert not leftover.exists() and (tmp_path / "s").is_dir()


def test_place_depends_on_everything_that_decides_the_values() -> None:
    places = {store.location(*key) for key in (("u", "c", "p"), ("v", "c", "p"), ("u", "d", "p"), ("u", "c", "q"))}
    assert len(places) == 4 and store.location("u", "c", "p") in places


def test_rules_of_when_to_store() -> None:
    assert sources.should_store(StoreConfig(mode="off"), 1) == (False, "--store off")
    assert sources.should_store(StoreConfig(limit="1K"), 1024)[0]
    chosen, why = sources.should_store(StoreConfig(limit="1K"), 1025)
    assert not chosen and "more than" in why
    assert sources.should_store(StoreConfig(mode="frames", limit="1K"), 1024)[0]
    with pytest.raises(ConfigError, match="--store frames: .* raise --store-limit"):
        sources.should_store(StoreConfig(mode="frames", limit="1K"), 1025)


def test_store_takes_at_most_half_of_the_free_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    assert sources.should_store(StoreConfig(limit="1G"), 500)[0]
    assert not sources.should_store(StoreConfig(limit="1G"), 501)[0]


def test_estimated_size_is_that_of_the_stored_file(tmp_path: Path, data: Path, encoder: Path) -> None:
    model, cuts = upstream.load("tera", encoder), librispeech.read(data / "LibriSpeech", "train-clean-100")
    frozen = sources.Frozen(model, torch.device("cpu"), torch.no_grad)
    sources.build_store(tmp_path / "s", frozen, evaluation_batches(cuts, 60.0, 32), "", True)
    estimate = sources.estimate_bytes(model, sum(cut.duration for cut in cuts))
    assert estimate == pytest.approx((tmp_path / "s" / "states.bin").stat().st_size, rel=0.03)


def test_stored_representation_equals_the_live_one(tmp_path: Path, data: Path, encoder: Path) -> None:
    """Bit for bit in the batches that it was stored by, within float error in others."""
    model, cuts = upstream.load("tera", encoder), librispeech.read(data / "LibriSpeech", "train-clean-100")
    frozen, live = sources.Frozen(model, torch.device("cpu"), torch.no_grad), sources.Live(400, lambda cut: cut.id)
    by_length = evaluation_batches(cuts, 60.0, 3)
    stored = sources.Stored(sources.build_store(tmp_path / "s", frozen, by_length, "", True), live)
    for batch, exact in [*((batch, True) for batch in by_length), *(([cut], False) for cut in cuts)]:
        one, two = live.load(batch), stored.load(batch)
        assert one.utt_ids == two.utt_ids == one.labels == two.labels
        assert torch.equal(one.samples, two.samples)
        first, second = frozen.represent(one), frozen.represent(two)
        assert torch.equal(first.lengths, second.lengths)
        if exact:
            assert torch.equal(first.hidden_states, second.hidden_states)
        torch.testing.assert_close(first.hidden_states, second.hidden_states, rtol=1e-4, atol=1e-5)


def test_training_from_the_store_equals_training_live(tmp_path: Path, data: Path, encoder: Path, weir: Any) -> None:
    """Within float error: the store was encoded in other batches."""
    few = {"runner__total_steps": 2, "runner__log_step": 1}
    for mode in ("off", "frames"):
        assert weir(*make.train_words(tmp_path / mode, data, encoder, **few), "--store", mode).status == 0
    live, stored = (make.lines(tmp_path / mode, "train") for mode in ("off", "frames"))
    assert [line["loss"] for line in live] == pytest.approx([line["loss"] for line in stored], rel=1e-4)
