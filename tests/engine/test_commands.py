"""Train, evaluate, use: what a run leaves, and that every number follows from its predictions."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch

from downstream.metrics import error_rate
from engine import checkpoint, predictions, yaml12
from tests.conftest import ROOT
from tests.engine import make
from tests.engine.make import Outcome, Trained
from tests.engine.test_trainer import assert_same, without_clock

Weir = Callable[..., Outcome]
BOTH = {"demo", "fingerprints", "store", "versions", "cost"}
RUN_KEYS = {"schema", "task", "upstream", "protocol", "preset", "config", "seed", "splits"} | BOTH
SPLIT_KEYS = {"metrics", "utterances", "checkpoint", "step", "selection", "date"} | BOTH


def results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


def test_run_leaves_every_file_of_the_contract(trained: Trained) -> None:
    names = {path.name for path in trained.folder.iterdir()}
    assert {"config.yaml", "log.txt", "metrics.jsonl", "results.json", "predictions", "dev-clean-best.ckpt"} <= names
    assert {"states-2.ckpt", "states-4.ckpt", "states-6.ckpt"} <= names
    assert any(name.startswith("events.out.tfevents.") for name in names)
    assert not any(name.startswith(".") for name in names)
    assert "asr on tera" in (trained.folder / "log.txt").read_text()


def test_results_have_the_keys_of_the_contract(trained: Trained) -> None:
    found = results(trained.folder)
    assert found.keys() == RUN_KEYS
    assert (found["schema"], found["task"], found["upstream"], found["protocol"], found["preset"]) == (1, "asr", "tera", "superb", "mini")
    assert found["demo"] is False and found["seed"] == 1337
    entry = found["splits"]["dev-clean"]
    assert entry.keys() == SPLIT_KEYS
    assert entry["metrics"].keys() == {"wer", "cer"}
    for metric in entry["metrics"].values():
        assert metric.keys() == {"value", "low", "high", "unit", "higher_is_better"}
        assert metric["low"] <= metric["value"] <= metric["high"] and metric["unit"] == "%" and metric["higher_is_better"] is False
    best = checkpoint.load(trained.folder / "dev-clean-best.ckpt")
    assert (entry["utterances"], entry["checkpoint"], entry["step"], entry["selection"]) == (2, "dev-clean-best.ckpt", best["Step"], "dev")
    for cost in (found["cost"], entry["cost"]):
        assert cost.keys() == {"seconds", "peak_memory_bytes", "trained_parameters"} and cost["seconds"] > 0
    parameters = sum(tensor.numel() for part in ("Featurizer", "Downstream") for tensor in best[part].values())
    assert found["cost"]["trained_parameters"] == parameters
    assert found["store"] == {"reduction": "frames", "exact": True, "why": "every frame as the upstream gives it", "padding": "none"}
    assert entry["store"] == found["store"]
    assert found["fingerprints"].keys() == entry["fingerprints"].keys() == {"upstream", "corpus"}


def test_saved_configuration_is_the_whole_one_that_was_used(trained: Trained) -> None:
    saved = yaml12.read(trained.folder / "config.yaml")
    assert saved == checkpoint.load(trained.folder / "states-6.ckpt")["Config"]
    assert saved["runner"]["total_steps"] == 6 and saved["head"]["hidden"] == 12 and saved["runner"]["patience"] == 20


def test_predictions_are_sorted_complete_and_give_the_number(trained: Trained, weir: Weir, tmp_path: Path) -> None:
    outcome = weir("-m", "evaluate", "-e", trained.folder, "-t", "train", "test-clean", "-p", tmp_path / "there")
    assert outcome.status == 0, outcome.err
    for split, folder, count in (("train", "train-clean-100", 8), ("test-clean", "test-clean", 2)):
        rows = predictions.read(tmp_path / "there", split)
        ids = [row.utt_id for row in rows]
        assert ids == sorted(path.stem for path in (trained.data / "LibriSpeech" / folder).rglob("*.flac")) and len(ids) == count
        entry = results(tmp_path / "there")["splits"][split]
        assert entry["utterances"] == count
        for metric, unit in (("wer", "word"), ("cer", "character")):
            assert entry["metrics"][metric]["value"] == error_rate(rows, unit).value
        assert all(row.reference == row.reference.upper() and row.reference for row in rows if row.reference is not None)


def test_evaluation_after_training_gives_what_training_logged(trained: Trained, weir: Weir, tmp_path: Path) -> None:
    logged = {line["step"]: line for line in make.lines(trained.folder, "dev-clean")}
    assert sorted(logged) == [3, 6]
    outcome = weir("-m", "evaluate", "-e", trained.folder / "dev-clean-best.ckpt", "-t", "dev-clean", "-p", tmp_path / "there", "--json")
    entry = json.loads(outcome.out)["splits"]["dev-clean"]
    line = logged[entry["step"]]
    for metric in ("wer", "cer"):
        recorded = results(trained.folder)["splits"]["dev-clean"]["metrics"][metric]["value"]
        assert entry["metrics"][metric]["value"] == line[metric] == recorded
    assert line["wer"] == min(row["wer"] for row in logged.values())


def test_a_second_evaluation_adds_its_split_and_repeats_give_the_same(trained: Trained, weir: Weir, tmp_path: Path) -> None:
    there = tmp_path / "there"
    for split in ("test-clean", "dev-clean", "test-clean"):
        before = results(there)["splits"] if there.exists() else {}
        assert weir("-m", "evaluate", "-e", trained.folder, "-t", split, "-p", there).status == 0
        after = results(there)["splits"]
        assert after.keys() == {*before, split}
        for name in before:
            assert after[name]["metrics"] == before[name]["metrics"]
    assert set(results(there)["splits"]) == {"test-clean", "dev-clean"}


def test_evaluation_prints_an_aligned_table_on_stdout_alone(trained: Trained, weir: Weir, tmp_path: Path) -> None:
    outcome = weir("-m", "evaluate", "-e", trained.folder, "-p", tmp_path / "there")
    header, rule, *rows = outcome.out.splitlines()
    assert header.split()[:3] == ["split", "metric", "value"] and set(rule) == {"-", " "}
    assert len(rows) == 2 and len({len(line) for line in (header, rule, *rows)}) <= 2
    assert [row.split()[:2] for row in rows] == [["test-clean", "wer"], ["test-clean", "cer"]]


def test_interrupted_run_that_goes_on_equals_one_that_was_not(trained: Trained, weir: Weir, tmp_path: Path) -> None:
    """Real task, real data: everything behind step 4 lost, as after a kill."""
    folder = make.copy_of(trained, tmp_path / "run")
    (folder / "states-6.ckpt").unlink()
    (folder / "results.json").unlink()
    outcome = weir(*make.train_words(folder, trained.data, trained.encoder), "-a")
    assert outcome.status == 0, outcome.err
    one, two = (checkpoint.load(place / "states-6.ckpt") for place in (trained.folder, folder))
    assert_same(without_clock(one), without_clock(two))
    assert make.lines(folder) == make.lines(trained.folder)
    assert results(folder)["splits"]["dev-clean"]["metrics"] == results(trained.folder)["splits"]["dev-clean"]["metrics"]


def test_initial_weights_are_taken_from_another_run(trained: Trained, weir: Weir, tmp_path: Path) -> None:
    words = make.train_words(tmp_path / "run", trained.data, trained.encoder, runner__total_steps=1, optimizer__lr="1e-12")
    assert weir(*words, "-i", trained.folder / "states-6.ckpt").status == 0
    one, two = (checkpoint.load(path)["Downstream"] for path in (trained.folder / "states-6.ckpt", tmp_path / "run" / "states-1.ckpt"))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=1e-9)


def test_trainable_upstream_trains_and_is_saved(trained: Trained, weir: Weir, tmp_path: Path) -> None:
    words = make.train_words(tmp_path / "run", trained.data, trained.encoder, runner__total_steps=2)
    assert weir(*words, "-f").status == 0
    states = [checkpoint.load(path)["Upstream"] for path in sorted((tmp_path / "run").glob("*.ckpt"))]
    import upstream

    before = upstream.load("tera", trained.encoder).state_dict()
    assert all(not torch.equal(state[name], before[name]) for state in states for name in before if name.endswith("qkv.weight"))
    outcome = weir("-m", "evaluate", "-e", tmp_path / "run", "-t", "dev-clean", "--json")
    assert json.loads(outcome.out)["splits"]["dev-clean"]["metrics"]["wer"]["value"] == make.lines(tmp_path / "run", "dev-clean")[-1]["wer"]


def test_inference_prints_one_object_a_file_in_the_order_given(trained: Trained, weir: Weir, tmp_path: Path) -> None:
    clips = sorted((trained.data / "LibriSpeech" / "train-clean-100").rglob("*.flac"))[:3][::-1]
    outcome = weir("-m", "inference", "-e", trained.folder, "-t", *clips)
    assert outcome.status == 0, outcome.err
    rows = [json.loads(line) for line in outcome.out.splitlines()]
    assert [row["path"] for row in rows] == [str(clip) for clip in clips]
    assert all(row.keys() == {"utt_id", "path", "prediction", "scores"} and row["utt_id"] == Path(row["path"]).stem for row in rows)
    assert weir("-m", "predict", "-e", trained.folder, "-t", *clips).out == outcome.out
    assert weir("-m", "evaluate", "-e", trained.folder, "-t", "train", "-p", tmp_path / "there").status == 0
    written = {row.utt_id: row.prediction for row in predictions.read(tmp_path / "there", "train")}
    assert all(written[row["utt_id"]] == row["prediction"] for row in rows)


def test_inference_takes_a_folder(trained: Trained, weir: Weir) -> None:
    folder = trained.data / "LibriSpeech" / "dev-clean"
    rows = [json.loads(line) for line in weir("-m", "inference", "-e", trained.folder, "-t", folder).out.splitlines()]
    assert [row["utt_id"] for row in rows] == ["21-1-0000", "21-1-0001"]


def test_unusable_audio_is_named_and_the_other_files_are_still_done(trained: Trained, weir: Weir, tmp_path: Path) -> None:
    good = sorted((trained.data / "LibriSpeech").rglob("*.flac"))[0]
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("this is no audio")
    soundfile.write(tmp_path / "short.wav", torch.zeros(10).numpy(), 16_000)
    soundfile.write(tmp_path / "none.wav", torch.zeros(0).numpy(), 16_000)
    names = ["empty.wav", "text.wav", "short.wav", "none.wav"]
    outcome = weir("-m", "inference", "-e", trained.folder, "-t", *(tmp_path / name for name in names), good)
    assert outcome.status == 2
    assert [json.loads(line)["path"] for line in outcome.out.splitlines()] == [str(good)]
    errors = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 4 and all(name in error for name, error in zip(names, errors, strict=True))
    assert "10 samples" in errors[2] and "at least" in errors[2]
    assert "Traceback" not in outcome.err


def test_check_says_what_a_run_takes_and_writes_nothing(trained: Trained, weir: Weir, tmp_path: Path) -> None:
    outcome = weir(*make.train_words(tmp_path / "run", trained.data, trained.encoder), "--check")
    assert outcome.status == 0, outcome.err
    for part in ("trained parameters", "min", "8 utterances", "free disk"):
        assert part in outcome.out
    assert not (tmp_path / "run").exists() and not (tmp_path / "result").exists()


LIGHT = """
import sys
import run_downstream
try:
    status = run_downstream.main(sys.argv[1:])
except SystemExit as stop:
    status = stop.code or 0
heavy = {"torch", "lhotse", "transformers", "sklearn", "accelerate", "torchaudio", "scipy", "tensorboard"} & sys.modules.keys()
print("HEAVY", sorted(heavy), file=sys.stderr)
print("BROUGHT", sorted({"numpy", "pydantic", "yaml"} & sys.modules.keys()), file=sys.stderr)
sys.exit(status)
"""


def light(folder: Path, words: list[str]) -> subprocess.CompletedProcess[str]:
    """The command in an interpreter of its own, which then says what was imported."""
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin"}
    return subprocess.run([sys.executable, "-c", LIGHT, *words], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    "words, status, shown",
    [
        (["-h"], 0, "--mode"),
        (["--list"], 0, "asr"),
        (["--describe", "asr"], 0, "LibriSpeech"),
        (["--describe", "hubert"], 0, "HuBERT"),
        (["--describe", "terra"], 2, "tera"),
        (["-m", "train", "-u", "teraa", "-d", "asr"], 2, "teraa"),
        (["-m", "train", "-u", "fbank", "-d", "asr", "-o", "config.optimizer.lrr=1"], 2, "lrr"),
        (["--nonsense"], 2, "--nonsense"),
        ([], 2, "-m"),
    ],
)
def test_help_lists_and_mistakes_answer_without_heavy_imports(tmp_path: Path, words: list[str], status: int, shown: str) -> None:
    done = light(tmp_path, words)
    assert done.returncode == status, done.stderr
    assert shown in (done.stdout if status == 0 else done.stderr)
    assert "HEAVY []" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words, brought",
    [
        (["-h"], []),
        (["--nonsense"], []),
        (["-u", "tera"], ["yaml"]),
        (["-m", "train", "-u", "tera", "-d", "nope"], ["yaml"]),
        (["-m", "train", "-u", "nope", "-d", "asr"], ["yaml"]),
        (["-m", "train", "-u", "tera"], ["yaml"]),
        (["-m", "extract", "-u", "nope"], ["yaml"]),
        (["--list"], ["yaml"]),
        (["--describe", "hubert"], ["yaml"]),
        (["-m", "evaluate", "-e", "nowhere"], ["pydantic", "yaml"]),
    ],
)
def test_an_answer_imports_no_more_than_it_needs(tmp_path: Path, words: list[str], brought: list[str]) -> None:
    assert f"BROUGHT {brought}" in light(tmp_path, words).stderr
