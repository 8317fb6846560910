"""Stored representations equal live ones; crops, and batches of which a part is stored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import upstream
from corpus import librispeech
from corpus.batch import read_cut
from corpus.batching import evaluation_batches
from engine import sources
from engine.learners import crop, cropped, storable
from engine.store.reading import Store
from engine.store.reduction import Reduction, pooled
from tests.upstream.make import wav2vec2

BOTH = pytest.mark.parametrize("reduction", [Reduction(), pooled(None), pooled(160)], ids=lambda reduction: reduction.key)


def test_crop_is_drawn_by_its_key_within_the_cut(data: Path) -> None:
    cut = next(iter(librispeech.read(data / "LibriSpeech", "train-clean-100")))
    parts = [cropped(cut, 0.5, str(key)) for key in range(50)]
    assert [part.id for part in parts] == [cropped(cut, 0.5, str(key)).id for key in range(50)]
    assert len({part.id for part in parts}) > 25
    assert all(part.duration == 0.5 and 0 <= part.start and part.end <= cut.end + 1e-6 for part in parts)
    assert all(part.supervisions[0].text == cut.supervisions[0].text for part in parts)
    whole = read_cut(cut)
    first = int(parts[0].id.split("@")[1])
    assert (read_cut(parts[0]) == whole[first : first + 8000]).all()
    assert cropped(cut, cut.duration, "1") is cut and cropped(cut, None, "1") is cut


def test_stored_parts_are_the_same_ones_for_everybody(data: Path) -> None:
    cuts = list(librispeech.read(data / "LibriSpeech", "train-clean-100"))
    lengths = sorted(cut.duration for cut in cuts)
    seconds = lengths[4]
    found = storable(cuts, lambda cut: seconds, 3)
    short = [cut.id for cut in cuts if cut.duration <= seconds]
    assert [cut.id for cut in found if "@" not in cut.id] == short
    assert [cut.id for cut in storable(cuts, lambda cut: seconds, 0)] == short
    assert [cut.id for cut in storable(cuts, lambda cut: None, 3)] == [cut.id for cut in cuts]
    ids = {cut.id for cut in found}
    assert all(crop(cut, seconds, number).id in ids for cut in cuts for number in range(3))


@BOTH
def test_stored_representation_equals_the_live_one(tmp_path: Path, data: Path, encoder: Path, reduction: Reduction) -> None:
    """Bit for bit in the batches that it was stored by, within float error in others."""
    model, cuts = upstream.load("tera", encoder), librispeech.read(data / "LibriSpeech", "train-clean-100")
    frozen, live = sources.Frozen(model, torch.device("cpu"), torch.no_grad), sources.Live(400, lambda cut: cut.id)
    by_length = evaluation_batches(cuts, 60.0, 3)
    sources.build_store(tmp_path / "s", frozen, by_length, reduction)
    stored = sources.Stored(Store(tmp_path / "s"), live, reduction)
    for batch, exact in [*((batch, True) for batch in by_length), *(([cut], False) for cut in cuts)]:
        one, two = live.load(batch), stored.load(batch)
        assert one.utt_ids == two.utt_ids == one.labels == two.labels
        assert torch.equal(one.samples, two.samples)
        first, second = reduction(frozen.represent(one), one.samples), frozen.represent(two)
        assert torch.equal(first.lengths, second.lengths)
        if exact:
            assert torch.equal(first.hidden_states, second.hidden_states)
        torch.testing.assert_close(first.hidden_states, second.hidden_states, rtol=1e-4, atol=1e-5)


@BOTH
def test_estimated_size_is_that_of_the_stored_files(tmp_path: Path, data: Path, encoder: Path, reduction: Reduction) -> None:
    model, cuts = upstream.load("tera", encoder), list(librispeech.read(data / "LibriSpeech", "train-clean-100"))
    sources.build_store(
        tmp_path / "s", sources.Frozen(model, torch.device("cpu"), torch.no_grad), evaluation_batches(cuts, 60.0, 32), reduction
    )
    size = sum(path.stat().st_size for path in (tmp_path / "s").glob("*.bin") if path.stem.isdigit())
    assert sources.estimate_bytes(model, cuts, reduction) == pytest.approx(size, rel=0.03)


def test_batch_of_stored_means_and_live_utterances_equals_a_live_one(tmp_path: Path, data: Path, encoder: Path) -> None:
    model, cuts = upstream.load("tera", encoder), list(librispeech.read(data / "LibriSpeech", "train-clean-100"))
    frozen, live = sources.Frozen(model, torch.device("cpu"), torch.no_grad), sources.Live(400, lambda cut: cut.id)
    sources.build_store(tmp_path / "s", frozen, evaluation_batches(cuts[:4], 60.0, 3), pooled(160))
    stored = sources.Stored(Store(tmp_path / "s"), live, pooled(160))
    loaded = stored.load([cuts[6], cuts[1], cropped(cuts[2], 0.5, "1")])
    mixed = frozen.represent(loaded)
    assert mixed.hidden_states.shape[2] == 1 and mixed.lengths.tolist() == [1, 1, 1]
    for row, cut in enumerate([cuts[1], cuts[6], cropped(cuts[2], 0.5, "1")]):
        one = live.load([cut])
        alone = pooled(160)(frozen.represent(one), one.samples)
        torch.testing.assert_close(mixed.hidden_states[:, row], alone.hidden_states[:, 0], rtol=1e-4, atol=1e-5)


def test_batch_of_stored_and_live_utterances_equals_a_live_one(tmp_path: Path, data: Path, encoder: Path) -> None:
    model, cuts = upstream.load("tera", encoder), list(librispeech.read(data / "LibriSpeech", "train-clean-100"))
    frozen, live = sources.Frozen(model, torch.device("cpu"), torch.no_grad), sources.Live(400, lambda cut: cut.id)
    sources.build_store(tmp_path / "s", frozen, evaluation_batches(cuts[:4], 60.0, 3))
    stored = sources.Stored(Store(tmp_path / "s"), live)
    batch = [cuts[6], cuts[1], cropped(cuts[2], 0.5, "1"), cuts[3]]
    loaded = stored.load(batch)
    assert loaded.utt_ids == loaded.labels == [cuts[1].id, cuts[3].id, cuts[6].id, batch[2].id]
    mixed = frozen.represent(loaded)
    for row, utt_id in enumerate(loaded.utt_ids):
        alone = frozen.represent(live.load([next(cut for cut in batch if cut.id == utt_id)]))
        frames = int(alone.lengths[0])
        assert int(mixed.lengths[row]) == frames
        torch.testing.assert_close(mixed.hidden_states[:, row, :frames], alone.hidden_states[:, 0], rtol=1e-4, atol=1e-5)


def packing(precision: str = "fp32") -> sources.Frozen:
    """A small HuBERT, which has a packed forward."""
    return sources.Frozen(wav2vec2("hubert"), torch.device("cpu"), lambda: torch.autocast("cpu", torch.bfloat16), precision)


@BOTH
def test_packed_representation_is_bit_equal_in_every_batch_and_close_to_the_plain_one(
    tmp_path: Path, data: Path, reduction: Reduction
) -> None:
    frozen, live = packing(), sources.Live(400)
    plain = sources.Frozen(frozen.upstream, torch.device("cpu"), torch.no_grad, "fp16")
    assert frozen.form.startswith("packed") and plain.form == "padded"
    cuts = list(librispeech.read(data / "LibriSpeech", "train-clean-100"))
    sources.build_store(tmp_path / "s", frozen, evaluation_batches(cuts, 60.0, 3), reduction)
    stored = sources.Stored(Store(tmp_path / "s"), live, reduction)
    for batch in (cuts, cuts[2:5], cuts[:1]):
        one, two = replace(live.load(batch), reduction=reduction), stored.load(batch)
        first, second, third = frozen.represent(one), frozen.represent(two), plain.represent(one)
        assert torch.equal(first.lengths, second.lengths) and torch.equal(first.lengths, third.lengths)
        assert torch.equal(first.hidden_states, second.hidden_states)
        torch.testing.assert_close(first.hidden_states, third.hidden_states, rtol=1e-4, atol=1e-5)


def test_error_of_bfloat16_is_said_once(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    batch = sources.Live(400).load(list(librispeech.read(data / "LibriSpeech", "train-clean-100"))[:2])
    with caplog.at_level("INFO", "weir"):
        frozen = packing("bf16")
        found = frozen.represent(batch)
        frozen.represent(batch)
        packing("fp32").represent(batch)
    assert found.hidden_states.dtype == torch.bfloat16
    (line,) = caplog.messages
    assert "bf16: hidden states differ from fp32 by at most" in line


def test_nothing_is_packed_before_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upstream.wav2vec2.PackedEncoder", lambda *arguments: pytest.fail("weights were packed"))
    assert packing().form.startswith("packed")
