"""`leaderboard.py` as it is typed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import leaderboard
from engine.task import Prediction
from tests.report.make import experiment, record

ROWS = [Prediction(f"u{place}", "yes", "yes" if place % 3 else "no") for place in range(30)]


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    status = leaderboard.main([str(part) for part in argv])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_the_table_is_on_stdout_and_remarks_are_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment(tmp_path / "ks-a", record("ks", {"acc": 91.0}, upstream="mine"))
    experiment(tmp_path / "ks-b", record("ks", {"acc": 91.0}, split="dev"))
    status, out, err = run(capsys, tmp_path)
    assert status == 0
    assert "91.00" in out and "HuBERT Base" in out
    assert "ks-b has no result of split test yet" in err
    _, out, _ = run(capsys, tmp_path, "--no-published")
    assert "91.00" in out and "HuBERT Base" not in out


def test_a_broken_result_is_named_the_others_are_shown_and_the_status_is_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment(tmp_path / "ks-a", record("ks", {"acc": 91.0}))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "results.json").write_text("{")
    status, out, err = run(capsys, tmp_path)
    assert status == 2
    assert "91.00" in out
    assert err.startswith("error: ") and str(tmp_path / "bad" / "results.json") in err and err.count("\n") == 1


def test_nothing_to_show_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        status, out, err = run(capsys, folder)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert err.startswith("error: ") and str(folder) in err


def test_without_a_folder_the_runs_of_the_working_directory_are_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "result/downstream" in run(capsys)[2]
    experiment(tmp_path / "result" / "downstream" / "ks-a", record("ks", {"acc": 91.0}))
    assert "91.00" in run(capsys)[1]


@pytest.mark.parametrize("form, start", [("csv", "section,upstream,"), ("json", "{"), ("markdown", "## SUPERB")])
def test_formats(tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, start: str) -> None:
    experiment(tmp_path / "ks-a", record("ks", {"acc": 91.0}))
    assert run(capsys, tmp_path, "--format", form)[1].startswith(start)


def test_compare_prints_a_verdict_or_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        experiment(tmp_path / name, record("ks", {"acc": 66.7}), ROWS)
    status, out, _ = run(capsys, "--compare", tmp_path / "a", tmp_path / "b")
    assert status == 0 and "no difference is shown" in out
    _, out, _ = run(capsys, "--compare", tmp_path / "a", tmp_path / "b", "--format", "json")
    assert json.loads(out)["differences"][0]["p_value"] == 1.0
    status, _, err = run(capsys, "--compare", tmp_path / "a", tmp_path / "c")
    assert status == 2 and str(tmp_path / "c") in err


def test_export_says_what_it_wrote_and_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment(tmp_path / "runs" / "ks", record("ks", {"acc": 66.7}), ROWS)
    status, out, err = run(capsys, "--export", "superb", tmp_path / "runs", "-o", tmp_path / "out")
    assert status == 0
    assert out.splitlines() == [f"{tmp_path / 'out' / 'predict/ks_public/predict.txt'}  ks", str(tmp_path / "out" / "predict.zip")]
    assert "pr_public missing" in err and "diarization cannot be submitted" in err


@pytest.mark.parametrize(
    "argv, named",
    [
        (["--compare", "a", "b", "--export", "superb"], "--export"),
        (["--compare", "a", "b", "c"], "FOLDER"),
        (["--compare", "a", "b", "--intervals"], "--intervals"),
        (["-o", "out"], "-o"),
        (["--demo"], "--demo"),
        (["-t", "dev"], "-t"),
        (["--export", "superb", "--format", "json"], "--format"),
    ],
)
def test_flags_that_cannot_act_are_refused(capsys: pytest.CaptureFixture[str], argv: list[str], named: str) -> None:
    status, _, err = run(capsys, *argv)
    assert status == 2 and err.startswith("error: ") and named in err


def test_help_has_examples_and_answers_at_once(repository: Path) -> None:
    took = []
    for _ in range(3):
        began = time.monotonic()
        done = subprocess.run([sys.executable, repository / "leaderboard.py", "-h"], capture_output=True, text=True, check=True)
        took.append(time.monotonic() - began)
    assert "examples:" in done.stdout and "--compare" in done.stdout
    assert min(took) < 0.5


def test_the_table_needs_no_pytorch(tmp_path: Path, repository: Path) -> None:
    experiment(tmp_path / "ks-a", record("ks", {"acc": 91.0}))
    code = f"import sys, leaderboard; leaderboard.main([{str(tmp_path)!r}]); assert not {{'torch', 'lhotse'}} & sys.modules.keys()"
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
