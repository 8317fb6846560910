"""The utterances that files, folders and manifests mean."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch

import upstream
from corpus.audio import read_audio
from engine.extract.folder import Features
from tests.engine.extract.make import close
from tests.engine.make import Outcome

Weir = Callable[..., Outcome]


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


def test_fairseq_manifest_is_read(extract: Callable[..., Outcome], speech: Path) -> None:
    Path("train.tsv").write_text(f"{speech}\none/1.wav\t5600\ntwo/2.wav\t6400\n")
    assert extract(audio="train.tsv").status == 0
    assert list(Features.open("features").entries) == ["one/1", "two/2"]


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
