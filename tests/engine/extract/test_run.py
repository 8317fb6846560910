"""`-m extract`: what it writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

import upstream
from corpus.audio import read_audio
from engine.extract import run
from engine.extract.folder import Features, Shard
from engine.extract.utterances import Utterance
from tests.engine.extract.make import alone, close, content
from tests.engine.make import Outcome
from upstream.fbank import Fbank

FORMATS = ("safetensors", "npy", "hdf5")


class Coded(Fbank):
    """Filterbanks with codes: two groups a frame, the loudest and the quietest band."""

    name = "coded"

    def codes(self, wavs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        found = self(wavs, lengths)
        bands = found.hidden_states[0, :, :, :80]
        return torch.stack([bands.argmax(-1), bands.argmin(-1)], -1), found.lengths


@pytest.mark.parametrize("format", FORMATS)
def test_every_hidden_state_of_every_file_is_written(extract: Callable[..., Outcome], speech: Path, encoder: Path, format: str) -> None:
    outcome = extract("--format", format)
    assert outcome.status == 0, outcome.err
    summary = json.loads(outcome.out)
    assert (summary["utterances"], summary["extracted"], summary["failed"]) == (7, 7, 0)
    found, model = Features.open("features"), upstream.load("tera", encoder)
    assert list(found.entries) == ["one/1", "one/3", "one/5", "two/0", "two/2", "two/4", "two/6"]
    for utt_id, entry in found.entries.items():
        states = alone(model, Path(entry.path))
        array = found.read(utt_id)
        assert array.dtype == np.float32 and array.shape == states.shape
        close(array, states)
        assert (entry.frames, entry.layers) == (states.shape[1], tuple(range(model.num_states)))
        assert entry.samples == soundfile.info(entry.path).frames
    if format == "npy":
        assert Path("features/arrays/one/3.npy").is_file()
    else:
        assert len(list(Path("features/shards").iterdir())) > 1


def test_manifest_says_where_the_features_come_from(extract: Callable[..., Outcome], encoder: Path) -> None:
    assert extract("--layers", "1,-2", "--dtype", "float16").status == 0
    model = upstream.load("tera", encoder)
    manifest = json.loads(Path("features/manifest.json").read_text())
    expected = {
        "upstream": "tera",
        "checkpoint": str(encoder),
        "fingerprint": upstream.fingerprint(model),
        "layers": [1, 0],
        "what": "states",
    }
    expected |= {"dtype": "float16", "format": "safetensors", "stride": model.stride, "sample_rate": 16_000, "dim": model.dim}
    assert expected.items() <= manifest.items() and "torch" in manifest["versions"]


def test_layers_are_written_in_the_order_given_and_in_half_precision_where_asked(
    extract: Callable[..., Outcome], encoder: Path, speech: Path
) -> None:
    assert extract("--layers", "1,-2", "--dtype", "float16").status == 0
    array = Features.open("features").read("one/3")
    states = alone(upstream.load("tera", encoder), speech / "one/3.flac")
    assert array.dtype == np.float16 and array.shape[0] == 2
    np.testing.assert_allclose(array.astype(np.float32), states[[1, 0]], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("words", [("-l", "1"), ("-s", "last_hidden_state"), ("--layers", "-1")])
def test_one_layer_can_be_chosen_as_for_training(extract: Callable[..., Outcome], words: tuple[str, ...]) -> None:
    assert extract(*words).status == 0
    found = Features.open("features")
    assert found.entries["two/0"].layers == (1,) and found.read("two/0").shape[0] == 1


def test_mean_is_over_the_frames_of_the_utterance(extract: Callable[..., Outcome], speech: Path, encoder: Path) -> None:
    assert extract("--what", "mean").status == 0
    close(Features.open("features").read("one/5"), alone(upstream.load("tera", encoder), speech / "one/5.wav").mean(1))


def test_codes_are_written_as_one_by_frames_by_groups(
    extract: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, speech: Path
) -> None:
    targets = {**upstream.registry.targets, "coded": "tests.engine.extract.test_run:Coded"}
    monkeypatch.setitem(upstream.registry.__dict__, "targets", targets)
    outcome = extract("--what", "codes", "--format", "hdf5", upstream=("-u", "coded"))
    assert outcome.status == 0, outcome.err
    found = Features.open("features")
    array = found.read("two/6")
    samples = torch.from_numpy(read_audio(speech / "two/6.wav"))
    expected = Coded().eval().codes(samples[None], torch.tensor([len(samples)]))[0]
    assert array.dtype == np.int64 and array.shape == (1, found.entries["two/6"].frames, 2)
    assert np.array_equal(array, expected.numpy())
    assert found.entries["two/6"].layers is None


def test_codes_of_an_encoder_without_them_are_refused(extract: Callable[..., Outcome]) -> None:
    outcome = extract("--what", "codes")
    assert outcome.status == 2 and "tera gives no discrete codes; vq_wav2vec does" in outcome.err


def test_hdf5_has_a_data_set_with_attributes_for_each_utterance(extract: Callable[..., Outcome], encoder: Path) -> None:
    import h5py

    assert extract("--format", "hdf5").status == 0
    entry = Features.open("features").entries["one/3"]
    with h5py.File(Path("features") / entry.shard) as file:
        dataset = file["one/3"]
        assert dataset.attrs["utt_id"] == "one/3" and dataset.attrs["samples"] == entry.samples and list(dataset.attrs["layers"]) == [0, 1]
        assert json.loads(file.attrs["weir"])["upstream"] == "tera"


def test_unusable_files_are_named_the_others_done_and_tried_again(extract: Callable[..., Outcome], tmp_path: Path) -> None:
    audio = tmp_path / "audio"
    audio.mkdir()
    for name in ("a", "e"):
        soundfile.write(audio / f"{name}.wav", 0.1 * np.ones(6000), 16_000)
    (audio / "b.wav").write_bytes(b"")
    (audio / "c.wav").write_text("this is no audio")
    soundfile.write(audio / "d.wav", np.zeros(10), 16_000)
    for _ in range(2):
        outcome = extract(audio=audio)
        assert outcome.status == 2
        errors = [line for line in outcome.err.splitlines() if "error: " in line]
        assert len(errors) == 3 and all(any(f"{name}.wav" in line for line in errors) for name in "bcd")
        assert json.loads(outcome.out)["failed"] == 3 and list(Features.open("features").entries) == ["a", "e"]
        failed = [json.loads(line) for line in Path("features/failed.jsonl").read_text().splitlines()]
        assert [row["utt_id"] for row in failed] == ["b", "c", "d"] and "too few" in failed[2]["error"]
    before = content(Path("features/shards"))
    for name in "bcd":
        soundfile.write(audio / f"{name}.wav", 0.1 * np.ones(6000), 16_000)
    assert extract(audio=audio).status == 0
    assert list(Features.open("features").entries) == ["a", "b", "c", "d", "e"] and not Path("features/failed.jsonl").exists()
    assert before.items() <= content(Path("features/shards")).items()
    assert Features.open("features").read("c").shape[0] == 2


def test_values_beyond_half_precision_are_named(extract: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    forward = Fbank.forward

    def loud(self: Fbank, wavs: Tensor, lengths: Tensor) -> Any:
        found = forward(self, wavs, lengths)
        return type(found)(found.hidden_states * torch.where(lengths == 8000, 1e6, 1.0)[:, None, None], found.lengths)

    monkeypatch.setattr(Fbank, "forward", loud)
    outcome = extract("--dtype", "float16", upstream=("-u", "fbank"))
    assert outcome.status == 2 and "4.wav: some values of its hidden states do not fit float16" in outcome.err
    assert len(Features.open("features").entries) == 6


def test_batches_hold_no_more_than_their_seconds() -> None:
    lengths = {f"{index}": 1.0 + index % 5 for index in range(40)}
    shard = Shard(0, [Utterance(key, Path(key)) for key in lengths])
    batches = list(run._batches(shard, lengths, 12.0))
    assert sorted(utterance.key for batch in batches for utterance in batch) == sorted(lengths)
    assert all(len(batch) * lengths[batch[0].key] <= 12 for batch in batches)
    assert len(list(run._batches(shard, lengths, 0.5))) == 40
