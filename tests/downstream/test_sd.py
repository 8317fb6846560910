"""SD: the benchmark's declaration, chunks and labels, quirks kept and mended, error rates from saved predictions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from corpus.errors import DataError
from downstream.sd import SD, TASK
from engine.task import Outcomes, Prediction, Protocol, Setting
from tests.engine import make
from tests.engine.make import Outcome

TURNS = {"mix-1": [("19", 0.0, 0.4), ("26", 0.3, 0.8)], "mix-2": [("26", 0.1, 0.3), ("19", 0.2, 0.6)]}
HERTZ = {"19": 300, "26": 1200}


def write_mixtures(data: Path, splits: tuple[str, ...] = ("train", "dev", "test")) -> Path:
    """LibriMix-SD with two mixtures in each split, of 0.8 and 0.6 s; a speaker is a tone."""
    for split in splits:
        folder = data / "LibriMix-SD" / split
        folder.mkdir(parents=True)
        lines = []
        for mixture, turns in TURNS.items():
            time = np.arange(round(max(end for *_, end in turns) * 16_000)) / 16_000
            tones = [0.3 * np.sin(2 * np.pi * HERTZ[who] * time) * ((time >= start) & (time < end)) for who, start, end in turns]
            soundfile.write(folder / f"{mixture}.wav", sum(tones), 16_000)
            lines += [f"SPEAKER {mixture} 1 {start} {end - start:.3f} <NA> <NA> {who} <NA> <NA>\n" for who, start, end in turns]
        (folder / "wav.scp").write_text("".join(f"{mixture} {mixture}.wav\n" for mixture in TURNS))
        (folder / "rttm").write_text("".join(lines))
    return data


@pytest.fixture(scope="module")
def mixtures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mixtures(tmp_path_factory.mktemp("mixtures"))


def task(data: Path | None = None, protocol: Protocol = "superb", chunk_frames: int = 2000, **quirks: bool) -> SD:
    corpus = SD.Corpus(root=data, chunk_frames=chunk_frames)
    return SD(corpus, SD.Head(hidden=8), Setting(protocol=protocol, quirks=quirks))


def heard(sd: SD, split: str, sure: float = 0.9) -> Outcomes:
    """What a head would give that hears everything: the labels, speakers in the other order in every second chunk."""
    cuts = {cut.id: cut for cut in sd.cuts(split)}
    rows = {utt_id: np.where(sd.label(cut) > 0, sure, 0.1) for utt_id, cut in cuts.items()}
    return Outcomes(split, cuts, {utt_id: row[:, ::-1] if int(utt_id[-1]) % 2 else row for utt_id, row in rows.items()})


def never() -> Outcomes:
    raise AssertionError("nothing is tuned on dev")


def test_declaration_is_that_of_the_benchmark() -> None:
    assert TASK is SD and SD.name == "sd"
    assert SD.metrics[0].name == "der" and not SD.metrics[0].higher_is_better
    assert (SD.train_split, SD.dev_split, SD.test_split, SD.best_checkpoint) == ("train", "dev", "test", "dev-best.ckpt")


def test_the_published_head_has_its_size() -> None:
    """superb_tasks.md 9.2 and 16: 2,626,562 parameters on 768 features."""
    head = SD(SD.Corpus(), SD.Head()).build_head(768, 320)
    assert sum(parameter.numel() for parameter in head.parameters()) == 2_626_562


def test_accuracy_selects_as_published_and_the_error_rate_where_mended() -> None:
    assert [metric.name for metric in task().metrics] == ["acc", "der"]
    assert [metric.name for metric in task(protocol="corrected").metrics] == ["der", "acc"]
    assert [metric.name for metric in task(selected_by_accuracy=False).metrics] == ["der", "acc"]


@pytest.mark.parametrize(("stride", "chunks"), [(160, 4), (320, 2)])
def test_chunks_are_frames_of_the_upstream(mixtures: Path, stride: int, chunks: int) -> None:
    """50 frames: 0.5 s at a stride of 160, 1 s at 320."""
    sd = SD(SD.Corpus(root=mixtures, chunk_frames=50), SD.Head(), Setting(stride=stride))
    cuts = list(sd.cuts("train"))
    assert len(cuts) == chunks
    assert [len(sd.label(cut)) for cut in cuts] == [round(cut.duration * 16_000) // stride for cut in cuts]


def test_labels_are_those_of_the_chunk(mixtures: Path) -> None:
    _, second, *_ = task(mixtures, chunk_frames=50).cuts("train")
    assert (second.id, second.start) == ("mix-1-0001", 0.5)
    label = task(mixtures).label(second)
    assert label.shape == (30, 2) and label[:, 0].sum() == 0 and label[:, 1].sum() == 30


def test_a_turn_over_a_whole_chunk_is_labelled_where_mended(mixtures: Path) -> None:
    edge = next(cut for cut in task(mixtures, chunk_frames=30).cuts("train") if cut.id == "mix-1-0001")
    assert task().label(edge)[:, 1].sum() == 30  # begins with the chunk: labelled
    gap = next(cut for cut in task(mixtures, chunk_frames=20).cuts("train") if cut.id == "mix-1-0002")
    assert task().label(gap).sum() == 0
    assert task(protocol="corrected").label(gap)[:, 1].sum() == 20
    assert task(unlabelled_spanning_segments=False).label(gap)[:, 1].sum() == 20


def test_development_and_test_are_cut_as_published_and_whole_where_mended(mixtures: Path) -> None:
    for split in ("dev", "test"):
        assert [cut.id for cut in task(mixtures, chunk_frames=50).cuts(split)] == ["mix-1-0000", "mix-1-0001", "mix-2-0000", "mix-2-0001"]
        assert [cut.id for cut in task(mixtures, "corrected", chunk_frames=50).cuts(split)] == ["mix-1", "mix-2"]
    assert len(task(mixtures, "corrected", chunk_frames=50).cuts("train")) == 4


def test_predictions_are_turns_of_whole_mixtures(mixtures: Path) -> None:
    sd = task(mixtures)
    first, second = sd.collect(heard(sd, "test"), never)
    assert (first.utt_id, first.reference) == ("mix-1", "19 0.000-0.400; 26 0.300-0.800")
    assert first.prediction == "1 0.000-0.400; 2 0.300-0.800"
    assert second.prediction == "2 0.100-0.300; 1 0.200-0.600"
    assert first.scores == {"threshold": 0.3, "median": 1.0, "correct_cells": 160.0, "cells": 160.0}
    scores = sd.score([first, second])
    assert scores["der"].value == 0 and scores["acc"].value == 100


def test_chunks_in_another_order_cost_as_published_and_nothing_where_mended(mixtures: Path) -> None:
    chunked = task(mixtures, chunk_frames=50)
    scores = chunked.score(chunked.collect(heard(chunked, "test"), never))
    assert scores["acc"].value == 100 and scores["der"].value > 20
    mended = task(mixtures, chunk_frames=50, chunk_permutations=False)
    assert mended.score(mended.collect(heard(mended, "test"), never))["der"].value == 0


def test_the_setting_is_tuned_on_test_as_published_and_on_dev_where_mended(mixtures: Path) -> None:
    """On the development split 0.55 is no speech, on the test split it is."""

    def faint(sd: SD, split: str, speech: float) -> Outcomes:
        outcomes = heard(sd, split, sure=speech)
        rows = {utt_id: np.where(row > 0.2, row, 0.55 if split == "dev" else 0.1) for utt_id, row in outcomes.found.items()}
        return Outcomes(split, outcomes.cuts, rows)

    def chosen(sd: SD) -> set[float]:
        return {row.scores["threshold"] for row in sd.collect(faint(sd, "test", 0.55), lambda: faint(sd, "dev", 0.9))}

    assert chosen(task(mixtures)) == {0.3}
    assert chosen(task(mixtures, protocol="corrected")) == chosen(task(mixtures, tuned_on_test=False)) == {0.6}
    mended = task(mixtures, protocol="corrected")
    assert {row.scores["threshold"] for row in mended.collect(faint(mended, "dev", 0.9), never)} == {0.6}


def test_outputs_shorter_than_their_chunk_are_matched(mixtures: Path) -> None:
    sd = task(mixtures)
    outcomes = heard(sd, "test")
    cut_off = Outcomes("test", outcomes.cuts, {utt_id: row[:-1] for utt_id, row in outcomes.found.items()})
    assert sd.score(sd.collect(cut_off, never))["der"].value == 0


def test_probabilities_end_with_their_utterance() -> None:
    logits = torch.tensor([[[0.0, 2.0]] * 3, [[9.0, -9.0]] * 3])
    first, second = task().predict((logits, torch.tensor([3, 2])), ["a", "b"])
    assert (first.shape, second.shape) == ((3, 2), (2, 2))
    assert first[0] == pytest.approx([0.5, 0.8808], abs=1e-4)


def test_inference_needs_no_reference() -> None:
    logits = torch.full((1, 50, 2), -5.0)
    logits[0, 10:30, 0] = 5.0
    assert task().infer((logits, torch.tensor([50])), ["a"]) == [Prediction("a", "1 0.100-0.300")]


def test_scores_follow_from_saved_predictions() -> None:
    counts = {"correct_cells": 3.0, "cells": 4.0}
    rows = [Prediction("a", "1 2-12", "A 0-10", counts), Prediction("b", "1 0-10", "A 0-5; B 5-10", counts)]
    scores = task().score(rows)
    assert scores["der"].value == pytest.approx(100 * (4 + 5) / 20)
    assert scores["acc"].value == 75
    assert all(score.low <= score.value <= score.high for score in scores.values())
    collared = SD(SD.Corpus(collar=1.0), SD.Head())
    assert collared.score(rows[:1])["der"].value == pytest.approx(100 * 2 / 8)


def test_own_data_comes_as_a_manifest_with_turns(mixtures: Path, tmp_path: Path) -> None:
    audio = mixtures / "LibriMix-SD" / "dev" / "mix-1.wav"
    manifest = tmp_path / "own.tsv"
    manifest.write_text(f"path\tid\tturns\n{audio}\town\tJane 0-0.4; Joe 0.3-0.8\n")
    sd = SD(SD.Corpus(manifests={"test": manifest}, chunk_frames=50), SD.Head())
    assert [cut.id for cut in sd.cuts("test")] == ["own-0000", "own-0001"]
    assert [row.reference for row in sd.collect(heard(sd, "test"), never)] == ["Jane 0.000-0.400; Joe 0.300-0.800"]
    manifest.write_text(f"path\tid\tturns\n{audio}\town\tJane 0.4-0\n")
    with pytest.raises(DataError, match="own, column turns: 'Jane 0.4-0' is no turn; who speaks from when to when"):
        list(sd.cuts("test"))


def test_a_third_speaker_is_named_with_the_file(tmp_path: Path) -> None:
    data = write_mixtures(tmp_path, ("train",))
    with (data / "LibriMix-SD" / "train" / "rttm").open("a") as file:
        file.write("SPEAKER mix-1 1 0.1 0.2 <NA> <NA> 32 <NA> <NA>\n")
    sd = task(data)
    with pytest.raises(DataError, match=r"mix-1.wav: 3 speakers \(19, 26, 32\)"):
        sd.label(next(iter(sd.cuts("train"))))


def test_missing_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"no LibriMix-SD in {tmp_path}"):
        task(tmp_path).cuts("train")


def test_two_mixtures_can_be_learned_by_heart(weir: Callable[..., Outcome], mixtures: Path, tmp_path: Path) -> None:
    """DER near 0: every part from audio to turns must work together."""
    settings = {
        "runner.total_steps": 120, "runner.eval_step": 120, "runner.save_step": 120, "runner.log_step": 20,
        "corpus.batching.batch_size": 2, "head.hidden": 32, "head.pooling": 1, "optimizer.lr": "1e-2",
    }  # fmt: skip
    options = ",,".join(f"config.{key}={value}" for key, value in settings.items())
    words = ["-m", "train", "-u", "fbank", "-d", "sd", "--data", mixtures, "--preset", "mini", "--device", "cpu"]
    outcome = weir(*words, "-p", tmp_path / "run", "-o", options)
    assert outcome.status == 0, outcome.err
    assert make.lines(tmp_path / "run", "train")[-1]["loss"] < 0.1
    found = json.loads((tmp_path / "run" / "results.json").read_text())["splits"]["dev"]["metrics"]
    assert found["der"]["value"] < 5 and found["acc"]["value"] > 95
