"""Audio reading: every kind of file, and an error with the file's name for every kind of broken one."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from corpus.audio import audio_files, read_audio
from corpus.errors import DataError
from tests.corpus.make import streamed_flac, tone, write_tone


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_samples_come_back_as_written(tmp_path, name):
    path = write_tone(tmp_path / name, 0.5)
    samples = read_audio(path)
    assert samples.dtype == np.float32 and samples.shape == (8000,)
    assert np.abs(samples - tone(0.5)).max() < 2 / 2**15  # 16-bit rounding


@pytest.mark.parametrize("name", ["a.ogg", "a.mp3"])
def test_lossy_formats_are_read(tmp_path, name):
    path = write_tone(tmp_path / name, 0.5, subtype=None)
    assert len(read_audio(path)) == pytest.approx(8000, abs=2400)


def test_channels_are_averaged(tmp_path):
    path = tmp_path / "stereo.wav"
    left = tone(0.2)
    soundfile.write(path, np.stack([left, -left / 2], axis=1), 16_000, subtype="FLOAT")
    assert np.allclose(read_audio(path), left / 4, atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100])
def test_other_rates_are_resampled_to_the_same_tone(tmp_path, rate):
    samples = read_audio(write_tone(tmp_path / "a.wav", 0.5, rate, subtype="FLOAT"))
    middle = slice(1000, 7000)  # the filter rings at both ends
    assert samples.shape == (8000,)
    assert np.abs(samples[middle] - tone(0.5)[middle]).max() < 2e-2


def test_a_part_is_the_same_as_the_slice_of_the_whole(tmp_path):
    path = write_tone(tmp_path / "a.flac", 1.0)
    assert np.array_equal(read_audio(path, start=0.25, duration=0.5), read_audio(path)[4000:12_000])
    assert np.array_equal(read_audio(path, start=0.25), read_audio(path)[4000:])


def test_a_rounded_end_is_forgiven_and_a_wrong_one_is_not(tmp_path):
    path = write_tone(tmp_path / "a.wav", 0.5)
    assert len(read_audio(path, start=0.25, duration=0.255)) == 4000
    with pytest.raises(DataError, match=r"a\.wav.*ends at 0\.500 s"):
        read_audio(path, start=0.25, duration=0.3)
    with pytest.raises(DataError, match="ends at"):
        read_audio(path, start=2.0, duration=0.1)
    with pytest.raises(DataError, match="nothing to read"):
        read_audio(path, duration=0.0)


def test_missing_folder_empty_and_text_are_named(tmp_path):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("this is no audio")
    for path, what in [
        (tmp_path / "none.wav", "no such audio file"),
        (tmp_path, "is a folder"),
        (tmp_path / "empty.wav", "empty"),
        (tmp_path / "text.wav", "not audio"),
    ]:
        with pytest.raises(DataError, match=what) as error:
            read_audio(path)
        assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["a.flac", "a.wav"])
@pytest.mark.parametrize("kept", [0.9, 0.3])
def test_truncated_files_are_refused(tmp_path, name, kept):
    whole = write_tone(tmp_path / name, 2.0).read_bytes()
    path = tmp_path / f"cut-{name}"
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(DataError, match=rf"cut-{name}.*cut short"):
        read_audio(path)


@pytest.mark.parametrize("size", [0x7FFFF000, 0xFFFFFFFF])
def test_a_streamed_wav_without_a_size_is_read(tmp_path, size):
    path = write_tone(tmp_path / "a.wav", 0.5)
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = size.to_bytes(4, "little")
    path.write_bytes(content)
    assert len(read_audio(path)) == 8000


def test_a_streamed_flac_without_a_length_is_named(tmp_path):
    write_tone(tmp_path / "a.flac", 0.5)
    with pytest.raises(DataError, match=r"a\.flac: its header does not say how long"):
        read_audio(streamed_flac(tmp_path / "a.flac"))


def test_samples_without_a_header_are_named(tmp_path):
    (tmp_path / "a.raw").write_bytes(bytes(3200))
    with pytest.raises(DataError, match=r"a\.raw: samples without a header"):
        read_audio(tmp_path / "a.raw")


def test_a_wav_with_other_chunks_behind_the_audio_is_whole(tmp_path):
    path = write_tone(tmp_path / "a.wav", 0.5)
    path.write_bytes(path.read_bytes() + b"LIST\x04\x00\x00\x00INFO")
    assert len(read_audio(path)) == 8000


def test_no_samples_are_refused(tmp_path):
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.float32), 16_000)
    with pytest.raises(DataError, match=r"none\.wav: no samples"):
        read_audio(tmp_path / "none.wav")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(tmp_path, value):
    samples = tone(0.1)
    samples[7] = value
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(DataError, match=r"a\.wav: sample 7 is (nan|inf)"):
        read_audio(tmp_path / "a.wav")


def test_folders_are_searched_and_the_order_given_is_kept(tmp_path):
    late, early = write_tone(tmp_path / "z.wav"), write_tone(tmp_path / "in" / "b" / "2.FLAC")
    other = write_tone(tmp_path / "in" / "a.ogg", subtype=None)
    (tmp_path / "in" / "._a.ogg").touch()
    (tmp_path / "in" / "notes.txt").touch()
    assert audio_files([late, tmp_path / "in"]) == [late, other, early]


def test_paths_that_mean_no_audio_are_named(tmp_path):
    with pytest.raises(DataError, match=r"one\.wav, .*two\.wav"):
        audio_files([tmp_path / "one.wav", tmp_path / "two.wav"])
    with pytest.raises(DataError, match="no audio in the folder"):
        audio_files([tmp_path])
