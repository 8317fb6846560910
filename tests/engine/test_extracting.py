"""`-m extract`: what it writes, that it goes on after a kill as if nothing had happened, and what it refuses."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
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
from engine import extracting, features, shards
from engine.errors import ConfigError
from engine.features import Features
from tests.conftest import ROOT
from tests.engine.make import Outcome
from upstream.base import Upstream
from upstream.fbank import Fbank

Weir = Callable[..., Outcome]
FORMATS = ("safetensors", "npy", "hdf5")


class Coded(Fbank):
    """Filterbanks with codes: two groups a frame, the loudest and the quietest band."""

    name = "coded"

    def codes(self, wavs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        found = self(wavs, lengths)
        bands = found.hidden_states[0, :, :, :80]
        return torch.stack([bands.argmax(-1), bands.argmin(-1)], -1), found.lengths


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven files of 0.3 to 0.6 s in two folders."""
    folder, draws = tmp_path_factory.mktemp("audio") / "speech", np.random.default_rng(0)
    for index in range(7):
        path = folder / ("one" if index % 2 else "two") / f"{index}.{'flac' if index == 3 else 'wav'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * draws.standard_normal(4800 + 800 * index), 16_000)
    return folder


@pytest.fixture
def extract(weir: Weir, encoder: Path, speech: Path) -> Callable[..., Outcome]:
    """`extract("--layers", "0")`: the small TERA on the speech into `features/`, one or two utterances a shard."""

    def command(*words: object, upstream: tuple[object, ...] = ("-u", "tera", "-k", encoder), audio: object = speech) -> Outcome:
        shard = () if "--shard-size" in words else ("--shard-size", "30K")
        where = () if {"-n", "-p"} & set(words) else ("-p", "features")
        return weir("-m", "extract", *upstream, "-t", audio, *where, "--device", "cpu", *shard, *words)

    return command


def content(folder: Path) -> dict[str, str]:
    """Every file of a folder with a digest of its bytes."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def alone(model: Upstream, path: Path) -> np.ndarray:
    """The hidden states (L, F, D) of one file by itself."""
    samples = torch.from_numpy(read_audio(path))
    with torch.no_grad():
        return model(samples[None], torch.tensor([len(samples)])).hidden_states[:, 0].numpy()


def close(ours: np.ndarray, theirs: np.ndarray) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())


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
    targets = {**upstream.registry.targets, "coded": "tests.engine.test_extracting:Coded"}
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


class Killed(BaseException):
    """Nothing in the program catches it."""


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("after", [0, 1, 3])
def test_interrupted_run_goes_on_to_the_bytes_of_one_that_was_not(
    extract: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, format: str, after: int
) -> None:
    assert extract("--format", format, "-p", "whole").status == 0
    count, write = 0, features.write_part

    def dying(*args: Any) -> None:
        nonlocal count
        if count == after:
            raise Killed
        count += 1
        write(*args)

    with monkeypatch.context() as patch:
        patch.setattr(features, "write_part", dying)
        with pytest.raises(Killed):
            extract("--format", format)
    assert not Path("features/index.jsonl").exists() and len(list(Path("features").glob("parts/*"))) == after
    before = {path: path.stat().st_mtime_ns for path in Path("features").rglob("*.*") if path.is_file()}
    outcome = extract("--format", format)
    assert outcome.status == 0, outcome.err
    assert content(Path("features")) == content(Path("whole"))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert json.loads(outcome.out)["extracted"] < 7 or after == 0


def test_killed_process_leaves_whole_files_and_the_next_one_finishes(
    extract: Callable[..., Outcome], encoder: Path, speech: Path, tmp_path: Path
) -> None:
    """A real SIGKILL, between two shards or in the middle of one."""
    assert extract("-p", "whole").status == 0
    slow = "import sys, time; from engine import features; write = features.write_part\n"
    slow += "features.write_part = lambda *args: (write(*args), time.sleep(0.3))\nimport run_downstream; run_downstream.main(sys.argv[1:])"
    words = ["-m", "extract", "-u", "tera", "-k", encoder, "-t", speech, "-p", "features", "--device", "cpu", "--shard-size", "30K"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", slow, *map(str, words)], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(Path("features").glob("parts/*.jsonl")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    finished = len(list(Path("features").glob("parts/*.jsonl")))
    assert 0 < finished < len(list(Path("whole/parts").iterdir()))
    (Path("features") / "shards" / ".weir-writing-0123-00009.safetensors").write_bytes(b"half")
    assert extract().status == 0
    assert content(Path("features")) == content(Path("whole"))


def test_second_run_of_a_finished_command_writes_nothing(extract: Callable[..., Outcome]) -> None:
    assert extract().status == 0
    before = content(Path("features"))
    outcome = extract("-a")
    assert outcome.status == 0 and json.loads(outcome.out)["extracted"] == 0
    assert content(Path("features")) == before


def test_lost_shard_is_made_again_and_no_other(extract: Callable[..., Outcome]) -> None:
    assert extract().status == 0
    before = content(Path("features"))
    Path("features/shards/00001.safetensors").unlink()
    kept = Path("features/shards/00002.safetensors").stat().st_mtime_ns
    assert extract().status == 0
    assert content(Path("features")) == before and Path("features/shards/00002.safetensors").stat().st_mtime_ns == kept


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


def test_run_after_new_files_came_adds_them_together(extract: Callable[..., Outcome], tmp_path: Path) -> None:
    audio = tmp_path / "audio"
    audio.mkdir()
    for name in "bdf":
        soundfile.write(audio / f"{name}.wav", 0.1 * np.ones(6000), 16_000)
    assert extract("--shard-size", "1M", audio=audio).status == 0
    for name in "aceg":
        soundfile.write(audio / f"{name}.wav", 0.1 * np.ones(6000), 16_000)
    outcome = extract("--shard-size", "1M", audio=audio)
    assert json.loads(outcome.out)["extracted"] == 4
    entries = Features.open("features").entries
    assert list(entries) == list("abcdefg") and {entries[name].shard for name in "aceg"} == {"shards/00001.safetensors"}


def test_folder_of_other_features_is_refused_unless_they_are_replaced(extract: Callable[..., Outcome]) -> None:
    assert extract().status == 0
    other = extract(upstream=("-u", "fbank"))
    assert other.status == 2
    for part in ("upstream tera (", "fbank (published weights", "layers [0, 1] there, [0] now", "--overwrite"):
        assert part in other.err
    assert extract("--dtype", "float16").status == 2
    Path("features/mine.txt").write_text("kept")
    assert extract("--overwrite", upstream=("-u", "fbank")).status == 0
    assert Features.open("features").manifest["upstream"] == "fbank" and Path("features/mine.txt").read_text() == "kept"


def test_folder_that_another_process_writes_or_nobody_wrote_is_refused(extract: Callable[..., Outcome]) -> None:
    assert extract().status == 0
    with features._alone(Path("features")):
        outcome = extract()
    assert outcome.status == 2 and "another process" in outcome.err
    Path("theirs/shards").mkdir(parents=True)
    outcome = extract("-p", "theirs", "--overwrite")
    assert outcome.status == 2 and "holds shards, which no extraction wrote" in outcome.err and Path("theirs/shards").is_dir()


def test_full_disk_gives_one_error_and_what_is_written_stays(extract: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    assert extract("-p", "whole").status == 0
    write = shards._write_safetensors

    def full(path: Path, *args: Any) -> None:
        if path.name.endswith("00002.safetensors"):
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, *args)

    with monkeypatch.context() as patch:
        patch.setattr(shards, "_write_safetensors", full)
        outcome = extract()
    assert outcome.status == 2
    assert outcome.err.count("error: ") == 1 and "no space left to write features/shards/00002.safetensors" in outcome.err
    assert sorted(path.name for path in Path("features/shards").iterdir()) == ["00000.safetensors", "00001.safetensors"]
    assert extract().status == 0 and content(Path("features")) == content(Path("whole"))


def test_manifest_with_ids_and_times_is_read(extract: Callable[..., Outcome], speech: Path, encoder: Path) -> None:
    Path("list.jsonl").write_text(
        json.dumps({"path": str(speech / "two/6.wav"), "id": "late", "start": 0.2, "duration": 0.3})
        + "\n"
        + json.dumps({"path": "gone.wav"})
        + "\n"
    )
    outcome = extract(audio="list.jsonl")
    assert outcome.status == 2 and "gone.wav" in outcome.err
    found = Features.open("features")
    assert list(found.entries) == ["late"] and (found.entries["late"].samples, found.entries["late"].start) == (4800, 0.2)
    part = torch.from_numpy(read_audio(speech / "two/6.wav", 0.2, 0.3))
    with torch.no_grad():
        close(found.read("late"), upstream.load("tera", encoder)(part[None], torch.tensor([4800])).hidden_states[:, 0].numpy())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"duration": 0.4}, "6.wav (from 0.1 s, 0.4 s long)"),
        ({"duration": None}, "6.wav (from 0.1 s)"),
        ({"start": 0.2}, "6.wav (from 0.2 s, 0.3 s long)"),
        ({"start": None, "duration": None, "path": "two/4.wav"}, "4.wav"),
    ],
)
def test_another_part_under_a_name_that_is_there_is_refused(
    extract: Callable[..., Outcome], speech: Path, changes: dict[str, Any], said: str
) -> None:
    def listed(**values: Any) -> str:
        row = {"path": "two/6.wav", "id": "late", "start": 0.1, "duration": 0.3} | values
        row = {key: value for key, value in row.items() if value is not None}
        Path("list.jsonl").write_text(json.dumps(row | {"path": str(speech / row["path"])}) + "\n")
        return "list.jsonl"

    assert extract(audio=listed()).status == 0
    assert extract(audio=listed()).status == 0
    outcome = extract(audio=listed(**changes))
    assert outcome.status == 2
    assert "late was extracted from " in outcome.err and "6.wav (from 0.1 s, 0.3 s long), and is now " in outcome.err
    assert f"{said}: choose another folder, or --overwrite" in outcome.err
    assert extract("--overwrite", audio=listed(**changes)).status == 0


def test_features_of_another_schema_are_refused(extract: Callable[..., Outcome]) -> None:
    assert extract().status == 0
    path = Path("features/manifest.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 1}))
    with pytest.raises(ConfigError, match="features holds features of schema 1, not 2; extract them again"):
        Features.open("features")
    outcome = extract()
    assert outcome.status == 2 and "schema 1 there, 2 now" in outcome.err


def test_fairseq_manifest_is_read(extract: Callable[..., Outcome], speech: Path) -> None:
    Path("train.tsv").write_text(f"{speech}\none/1.wav\t5600\ntwo/2.wav\t6400\n")
    assert extract(audio="train.tsv").status == 0
    assert list(Features.open("features").entries) == ["one/1", "two/2"]


def test_single_file_is_called_by_its_stem_and_a_name_puts_the_folder_under_result(extract: Callable[..., Outcome], speech: Path) -> None:
    assert extract("-n", "first", audio=speech / "one/3.flac").status == 0
    assert list(Features.open("result/extract/first").entries) == ["3"]


def test_files_of_one_name_are_refused_naming_both(weir: Weir, tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / "a.wav", np.zeros(800), 16_000)
    outcome = weir("-m", "extract", "-u", "fbank", "-t", "x", "y", "-p", "features")
    assert outcome.status == 2 and str(Path("x/a.wav")) in outcome.err and str(Path("y/a.wav")) in outcome.err
    assert not Path("features").exists()


def test_name_never_leaves_the_folder(extract: Callable[..., Outcome], speech: Path) -> None:
    Path("list.jsonl").write_text(json.dumps({"path": str(speech / "one/1.wav"), "id": "/../../up"}) + "\n")
    assert extract("--format", "npy", audio="list.jsonl").status == 0
    entry = Features.open("features").entries["/../../up"]
    assert entry.shard == "arrays/up.npy" and Path("features/arrays/up.npy").is_file()


def test_hdf5_refuses_a_name_that_is_the_folder_of_another(extract: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "audio/a").mkdir(parents=True)
    for name in ("a", "a/b"):
        soundfile.write(tmp_path / "audio" / f"{name}.wav", 0.1 * np.ones(6000), 16_000)
    outcome = extract("--format", "hdf5", audio="audio")
    assert outcome.status == 2 and "a.wav would be called a, which is a folder of" in outcome.err
    assert extract("--format", "npy", audio="audio").status == 0


def test_values_beyond_half_precision_are_named(extract: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    forward = Fbank.forward

    def loud(self: Fbank, wavs: Tensor, lengths: Tensor) -> Any:
        found = forward(self, wavs, lengths)
        return type(found)(found.hidden_states * torch.where(lengths == 8000, 1e6, 1.0)[:, None, None], found.lengths)

    monkeypatch.setattr(Fbank, "forward", loud)
    outcome = extract("--dtype", "float16", upstream=("-u", "fbank"))
    assert outcome.status == 2 and "4.wav: some values of its hidden states do not fit float16" in outcome.err
    assert len(Features.open("features").entries) == 6


@pytest.mark.parametrize(
    "words, said",
    [
        (("-d", "asr"), "-d means nothing to -m extract"),
        (("-f",), "-f means nothing"),
        (("-e", "x"), "-e means nothing"),
        (("--seed", "0"), "--seed means nothing"),
        (("--layers", "0,x"), "give all, or numbers such as 6,9,-1"),
        (("--layers", "2"), "tera has 2 hidden states, 0 to 1"),
        (("--layers", "1,-1"), "twice"),
        (("--layers", "1", "-l", "1"), "leave -l"),
        (("--what", "codes", "-l", "1"), "no layers"),
        (("--what", "codes", "--dtype", "float16"), "int64"),
        (("--shard-size", "much"), "500M"),
        (("--batch-seconds", "0"), "above 0"),
        (("-n", "x", "-p", "y"), "give one of them"),
        (("-a", "--overwrite"), "give one of them"),
    ],
)
def test_what_makes_no_sense_is_refused(extract: Callable[..., Outcome], words: tuple[str, ...], said: str) -> None:
    outcome = extract(*words)
    assert outcome.status == 2 and said in outcome.err and "Traceback" not in outcome.err
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("words", [("--what", "mean"), ("--format", "npy"), ("--layers", "1,2"), ("--shard-size", "1G")])
def test_flags_of_extract_are_refused_elsewhere(weir: Weir, words: tuple[str, ...]) -> None:
    outcome = weir("-m", "train", "-u", "fbank", "-d", "asr", *words)
    assert outcome.status == 2 and "-m extract" in outcome.err


def test_published_weights_are_meant_without_a_checkpoint(weir: Weir, speech: Path) -> None:
    outcome = weir("-m", "extract", "-u", "tera", "-t", speech, "-p", "features", "--device", "cpu")
    assert outcome.status == 2 and "the published checkpoint" in outcome.err


def test_batches_hold_no_more_than_their_seconds() -> None:
    lengths = {f"{index}": 1.0 + index % 5 for index in range(40)}
    shard = features.Shard(0, [features.Utterance(key, Path(key)) for key in lengths])
    batches = list(extracting._batches(shard, lengths, 12.0))
    assert sorted(utterance.key for batch in batches for utterance in batch) == sorted(lengths)
    assert all(len(batch) * lengths[batch[0].key] <= 12 for batch in batches)
    assert len(list(extracting._batches(shard, lengths, 0.5))) == 40


def test_shards_of_several_processes_fill_their_holes_after_a_kill() -> None:
    """Shards 0 and 2 are finished, 1 and 3 are not: they are what an uninterrupted run would have written."""
    listed = [features.Utterance(f"{index}", Path(f"/{index}.wav")) for index in range(8)]
    planned = features.plan_shards([listed], [], [], lambda utterance: 0.4)
    assert [len(shard.utterances) for shard in planned] == [2, 2, 2, 2]
    parts = [
        features.Part(n, [shards.Entry(u.utt_id, str(u.path), 0.0, None, "", u.key, 1, 1, None) for u in planned[n].utterances], [])
        for n in (0, 2)
    ]
    runs, retried = features.remaining(listed, parts, keep_holes=True)
    assert features.plan_shards(runs, retried, [0, 2], lambda utterance: 0.4) == [planned[1], planned[3]]


def test_one_command_after_another_may_be_interrupted_by_failures_too(extract: Callable[..., Outcome], tmp_path: Path) -> None:
    """A shard whose files are all bad counts as tried, so that later shards keep their numbers."""
    audio = tmp_path / "audio"
    audio.mkdir()
    (audio / "a.wav").write_bytes(b"")
    for name in "bc":
        soundfile.write(audio / f"{name}.wav", 0.1 * np.ones(9000), 16_000)
    assert extract("--shard-size", "1", audio=audio, upstream=("-u", "fbank")).status == 2
    first = content(Path("features"))
    assert extract("--shard-size", "1", audio=audio, upstream=("-u", "fbank")).status == 2
    assert content(Path("features")) == first
