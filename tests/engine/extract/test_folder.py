"""A folder of features: it goes on after a kill as if nothing had happened, and is never mixed with another."""

from __future__ import annotations

import errno
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

from engine.errors import ConfigError
from engine.extract import run, shards
from engine.extract.folder import Features, Part, _alone, plan_shards, remaining
from engine.extract.utterances import Utterance
from tests.conftest import ROOT
from tests.engine.extract.make import content
from tests.engine.make import Outcome

FORMATS = ("safetensors", "npy", "hdf5")


class Killed(BaseException):
    """Nothing in the program catches it."""


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("after", [0, 1, 3])
def test_interrupted_run_goes_on_to_the_bytes_of_one_that_was_not(
    extract: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, format: str, after: int
) -> None:
    assert extract("--format", format, "-p", "whole").status == 0
    count, write = 0, run.write_part

    def dying(*args: Any) -> None:
        nonlocal count
        if count == after:
            raise Killed
        count += 1
        write(*args)

    with monkeypatch.context() as patch:
        patch.setattr(run, "write_part", dying)
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
    slow = "import sys, time; from engine.extract import run; write = run.write_part\n"
    slow += "run.write_part = lambda *args: (write(*args), time.sleep(0.3))\nimport run_downstream; run_downstream.main(sys.argv[1:])"
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
    with _alone(Path("features")):
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
    whole = {path.name for path in Path("features/shards").iterdir()}
    assert {"00000.safetensors", "00001.safetensors"} <= whole <= {f"0000{number}.safetensors" for number in (0, 1, 3)}
    assert extract().status == 0 and content(Path("features")) == content(Path("whole"))


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


def test_shards_of_several_processes_fill_their_holes_after_a_kill() -> None:
    """Shards 0 and 2 are finished, 1 and 3 are not: they are what an uninterrupted run would have written."""
    listed = [Utterance(f"{index}", Path(f"/{index}.wav")) for index in range(8)]
    planned = plan_shards([listed], [], [], lambda utterance: 0.4)
    assert [len(shard.utterances) for shard in planned] == [2, 2, 2, 2]
    parts = [
        Part(n, [shards.Entry(u.utt_id, str(u.path), 0.0, None, "", u.key, 1, 1, None) for u in planned[n].utterances], []) for n in (0, 2)
    ]
    runs, retried = remaining(listed, parts, keep_holes=True)
    assert plan_shards(runs, retried, [0, 2], lambda utterance: 0.4) == [planned[1], planned[3]]


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
