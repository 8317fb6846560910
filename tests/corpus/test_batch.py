"""Cuts to one padded batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lhotse import Recording

from corpus.audio import read_audio
from corpus.batch import collate, load_batch
from corpus.errors import DataError
from tests.corpus.make import cut, tone, write_tone


def test_waveforms_are_padded_with_zeros():
    batch = collate([cut("a", 0.1), cut("b", 0.2)], [tone(0.1), tone(0.2)], ["x", "y"])
    assert batch.wavs.shape == (2, 3200) and batch.wavs.dtype == torch.float32
    assert batch.lengths.tolist() == [1600, 3200] and batch.lengths.dtype == torch.int64
    assert (batch.utt_ids, batch.labels) == (["a", "b"], ["x", "y"])
    assert np.array_equal(batch.wavs[0, :1600], tone(0.1)) and not batch.wavs[0, 1600:].any()


def test_audio_and_labels_are_loaded(tmp_path):
    one = cut("a", 0.3, write_tone(tmp_path / "a.wav", 0.3), text="HELLO")
    part = one.truncate(offset=0.1, duration=0.1)
    batch = load_batch(iter([one, part]), label=lambda c: c.supervisions[0].text)
    assert batch.labels == ["HELLO", "HELLO"]
    assert np.array_equal(batch.wavs[1, :1600], read_audio(tmp_path / "a.wav")[1600:3200])
    assert load_batch([one]).labels is None


def test_cuts_that_are_no_plain_part_of_a_file_are_read_by_lhotse(tmp_path):
    recording = Recording.from_file(write_tone(tmp_path / "a.wav", 0.3, rate=8000))
    mixed = recording.to_cut().pad(duration=0.5)
    batch = load_batch([mixed, recording.to_cut().perturb_speed(2.0)])
    assert batch.lengths.tolist() == [8000, 2400]
    assert (batch.wavs[0, 200:4600] - torch.from_numpy(tone(0.3))[200:4600]).abs().max() < 2e-2
    assert not batch.wavs[0, 5000:].any()


def test_empty_input_is_refused():
    with pytest.raises(DataError, match="at least one"):
        collate([], [])
    with pytest.raises(DataError, match="no samples in b"):
        collate([cut("a", 0.1), cut("b", 0.1)], [tone(0.1), np.zeros(0, np.float32)])
    with pytest.raises(DataError, match=r"z: a cut of 0\.0 s"):
        load_batch([cut("z", 0.0)])


def test_an_audio_error_names_the_file(tmp_path):
    path = write_tone(tmp_path / "gone.wav", 0.3)
    gone = cut("a", 0.3, path)
    path.unlink()
    with pytest.raises(DataError, match=r"gone\.wav"):
        load_batch([gone])
