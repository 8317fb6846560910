"""The files of a SUPERB submission."""

from __future__ import annotations

import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from engine.errors import ConfigError
from engine.task import Prediction
from report.collect import collect
from report.export import FORMATS, Submission, export
from report.published import load
from tests.report.make import experiment, record, sweep

FOLDS = ["fold1", "fold2", "fold3", "fold4", "fold5"]
VALUES = {"qbe": {"mtwv": 0.1}, "sf": {"f1": 1.0}, "asv": {"eer": 1.0}, "pr": {"per": 1.0}, "asr": {"wer": 1.0}}
ROWS = {
    "pr": Prediction("1-2-3", "HH AH0 L OW1", "HH"),
    "asr": Prediction("1-2-3", "HELLO WORLD", "HELLO"),
    "ks": Prediction("yes/0a_nohash_0", "yes", "yes"),
    "ic": Prediction("ab-cd", "activate,lights,kitchen", "x,y,z"),
    "sid": Prediction("id10001-VID-00001", "id10002", "id10001"),
    "sf": Prediction("Brian-snips-test-0", "PLAY B-genre JAZZ E-genre", ""),
    "asv": Prediction("id1-v-1_id2-w-2#2", "same", "different", {"cosine": 0.25}),
    "qbe": Prediction("q_1__d_2", "YES", "NO", {"score": 2.34567}),
}
EXPECTED = {
    "pr_public/predict.ark": "1-2-3 HH AH0 L OW1\n",
    "asr_public/predict.ark": "1-2-3 HELLO WORLD\n",
    "ks_public/predict.txt": "yes-0a_nohash_0.wav yes\n",
    "ic_public/predict.csv": "ab-cd,activate,lights,kitchen\n",
    "sid_public/predict.txt": "id10001-VID-00001 id10002\n",
    "sf_public/predict.ark": "Brian-snips-test-0 PLAY B-genre JAZZ E-genre\n",
    "sv_public/predict.txt": "id1-v-1_id2-w-2 0.25\n",
    **{f"er_{fold}_public/predict.txt": f"Ses01F_impro01_F00{fold[-1]} hap\n" for fold in FOLDS},
}


def submit(folder: Path, out: Path, demo: bool = False) -> Submission:
    return export(collect([folder])[0], out, load(), demo)


def make_all(folder: Path) -> None:
    """A run of every task that can be submitted, and one that cannot."""
    for task, row in ROWS.items():
        experiment(folder / task, record(task, VALUES.get(task, {"acc": 1.0})), [row])
    experiment(folder / "sd", record("sd", {"der": 1.0}), [Prediction("m", "A 0.000-1.000", "A 0.000-1.000")])
    sweep(folder / "er", "variants", "er", FOLDS)
    experiment(folder / "er", record("er", {"acc": 1.0}))
    for fold in FOLDS:
        experiment(folder / "er" / fold, record("er", {"acc": 1.0}), [Prediction(f"Ses01F_impro01_F00{fold[-1]}", "hap", "sad")])


def test_every_task_has_its_file_in_s3prls_format(tmp_path: Path) -> None:
    make_all(tmp_path / "runs")
    made = submit(tmp_path / "runs", tmp_path / "out")
    there = {path.relative_to(tmp_path / "out" / "predict").as_posix() for path in (tmp_path / "out" / "predict").rglob("*.*")}
    assert there == {*EXPECTED, "qbe_public/benchmark.stdlist.xml"} == {path.removeprefix("predict/") for path, _ in made.files}
    for path, text in EXPECTED.items():
        assert (tmp_path / "out" / "predict" / path).read_text() == text
    assert made.lacking == (
        "sd_public left out: it holds the probabilities of every frame (HDF5), and runs save turns; diarization cannot be submitted",
    )


def test_detections_are_a_list_by_query(tmp_path: Path) -> None:
    rows = [ROWS["qbe"], Prediction("q_1__d_3", "NO", "NO", {"score": -1.0}), Prediction("q_2__d_2", "NO", "NO", {"score": 0.0})]
    experiment(tmp_path / "runs" / "qbe", record("qbe", {"mtwv": 0.1}), rows)
    submit(tmp_path / "runs", tmp_path / "out")
    path = tmp_path / "out" / "predict" / "qbe_public" / "benchmark.stdlist.xml"
    root = ElementTree.parse(path).getroot()
    assert root.tag == "stdlist"
    assert [(each.get("termid"), [term.get("file") for term in each]) for each in root] == [("q_1", ["d_2", "d_3"]), ("q_2", ["d_2"])]
    assert root[0][0].attrib == {
        "file": "d_2", "channel": "1", "tbeg": "0.000", "dur": "0.00", "score": "2.3457", "decision": "YES",
    }  # fmt: skip
    assert path.read_text().startswith("<?xml version='1.0' encoding='UTF-8'?>")


def test_the_zip_holds_the_files_and_is_the_same_every_time(tmp_path: Path) -> None:
    make_all(tmp_path / "runs")
    for name in ("one", "two"):
        submit(tmp_path / "runs", tmp_path / name)
    one = (tmp_path / "one" / "predict.zip").read_bytes()
    assert one == (tmp_path / "two" / "predict.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one" / "predict.zip") as archive:
        assert {name.removeprefix("predict/") for name in archive.namelist()} == {*EXPECTED, "qbe_public/benchmark.stdlist.xml"}
        assert archive.read("predict/asr_public/predict.ark") == b"1-2-3 HELLO WORLD\n"


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    experiment(tmp_path / "runs" / "ks", record("ks", {"acc": 1.0}, entry={"utterances": 1}), [ROWS["ks"]])
    for fold in ("fold2", "fold3"):
        config = {"corpus": {**record("er", {"acc": 1.0})["config"]["corpus"], "test_fold": fold}}
        experiment(tmp_path / "runs" / fold, record("er", {"acc": 1.0}, config=config), [Prediction("a", "hap", "hap")])
    made = submit(tmp_path / "runs", tmp_path / "out")
    assert [path for path, _ in made.files] == [f"predict/{name}_public/predict.txt" for name in ("er_fold2", "er_fold3", "ks")]
    text = "\n".join(made.lacking)
    assert "er_fold1_public, er_fold4_public, er_fold5_public missing" in text
    assert "pr_public missing: no run of pr" in text
    assert "ks: 1 of 3,081 test items" in text


def test_demo_runs_are_refused_unless_they_are_meant(tmp_path: Path) -> None:
    experiment(tmp_path / "runs" / "ks", record("ks", {"acc": 1.0}, demo=True), [ROWS["ks"]])
    with pytest.raises(ConfigError, match="ks: on demo corpora.*--demo"):
        submit(tmp_path / "runs", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    submit(tmp_path / "runs", tmp_path / "out", demo=True)
    assert (tmp_path / "out" / "predict" / "ks_public" / "predict.txt").is_file()


def test_what_is_no_single_submission_is_refused(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    experiment(runs / "ks", record("ks", {"acc": 1.0}), [ROWS["ks"]])
    experiment(runs / "ks2", record("ks", {"acc": 1.0}), [ROWS["ks"]])
    with pytest.raises(ConfigError, match=r"two runs make predict/ks_public/predict\.txt: .*ks and .*ks2"):
        submit(runs, tmp_path / "out")
    experiment(runs / "ks2", record("ks", {"acc": 1.0}, upstream="tera"), [ROWS["ks"]])
    with pytest.raises(ConfigError, match="runs of fbank and tera: a submission is of one upstream"):
        submit(runs, tmp_path / "out")
    experiment(tmp_path / "other" / "sd", record("sd", {"der": 1.0}))
    with pytest.raises(ConfigError, match="no run of pr, asr"):
        submit(tmp_path / "other", tmp_path / "out")
    with pytest.raises(ConfigError, match="exists; name a new folder"):
        submit(runs, runs)


def test_folds_are_those_of_the_task() -> None:
    import downstream

    assert FORMATS["er"].folds == downstream.registry.load("er").variants
