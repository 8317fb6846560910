"""Crops, and batches of which a part is stored."""

from __future__ import annotations

from pathlib import Path

import torch

import upstream
from corpus import librispeech
from corpus.batch import read_cut
from corpus.batching import evaluation_batches
from engine import sources
from engine.learners import cropped


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


def test_batch_of_stored_and_live_utterances_equals_a_live_one(tmp_path: Path, data: Path, encoder: Path) -> None:
    model, cuts = upstream.load("tera", encoder), list(librispeech.read(data / "LibriSpeech", "train-clean-100"))
    frozen, live = sources.Frozen(model, torch.device("cpu"), torch.no_grad), sources.Live(400, lambda cut: cut.id)
    stored = sources.Stored(sources.build_store(tmp_path / "s", frozen, evaluation_batches(cuts[:4], 60.0, 3), "", True), live)
    batch = [cuts[6], cuts[1], cropped(cuts[2], 0.5, "1"), cuts[3]]
    loaded = stored.load(batch)
    assert loaded.utt_ids == loaded.labels == [cuts[1].id, cuts[3].id, cuts[6].id, batch[2].id]
    mixed = frozen.represent(loaded)
    for row, utt_id in enumerate(loaded.utt_ids):
        alone = frozen.represent(live.load([next(cut for cut in batch if cut.id == utt_id)]))
        frames = int(alone.lengths[0])
        assert int(mixed.lengths[row]) == frames
        torch.testing.assert_close(mixed.hidden_states[:, row, :frames], alone.hidden_states[:, 0], rtol=1e-4, atol=1e-5)
