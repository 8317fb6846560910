"""What the downstream command refuses, and how: exit status 2, one line that names the mistake, no folder left behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import checkpoint
from tests.engine import make
from tests.engine.make import Outcome, Trained

Weir = Callable[..., Outcome]


def assert_refused(outcome: Outcome, *named: str) -> None:
    assert outcome.status == 2, outcome
    assert "Traceback" not in outcome.err and outcome.out == ""
    errors = [line for line in outcome.err.splitlines() if "error: " in line]
    assert len(errors) == 1, outcome.err
    for word in named:
        assert word in errors[0], errors[0]


@pytest.mark.parametrize(
    "changed, named",
    [
        ({"-u": "teraa"}, ("teraa", "'tera'")),
        ({"-d": "asrr"}, ("asrr", "'asr'")),
        ({"-o": "config.optimizer.lrr=1"}, ("config.optimizer.lrr", "'lr'")),
        ({"-o": "config.optimizer.lr=fast"}, ("config.optimizer.lr", "'fast'")),
        ({"-o": "optimizer.lr=1"}, ("config.BLOCK.KEY=VALUE",)),
        ({"-o": "config.optimizer.lr"}, ("config.optimizer.lr", "VALUE")),
        ({"-o": "config.runner.eval_dataloaders=[dev-cleen]"}, ("dev-cleen", "'dev-clean'")),
        ({"-c": "nowhere.yaml", "--preset": None}, ("nowhere.yaml",)),
        ({"-k": "nowhere.ckpt"}, ("nowhere.ckpt",)),
        ({"-k": "somewordd"}, ("somewordd",)),
        ({"-u": "fbank"}, ("fbank", "takes no checkpoint")),
        ({"--data": "nowhere"}, ("nowhere",)),
        ({"-t": "test-clean"}, ("-t",)),
        ({"-l": "7"}, ("7",)),
        ({"-i": "nowhere.ckpt"}, ("nowhere.ckpt",)),
        ({"-c": "x.yaml"}, ("-c", "--preset")),
        ({"-a": "", "--overwrite": ""}, ("-a", "--overwrite")),
        ({"-s": "last_hidden_state", "-l": "1"}, ("-s", "-l")),
        ({"--demo": ""}, ("--data", "--demo")),
        ({"--json": ""}, ("--json",)),
        ({"--device": "tpu"}, ("tpu",)),
        ({"--precision": "fp16"}, ("fp16",)),
        ({"-g": "nowhere.yaml"}, ("nowhere.yaml",)),
        ({"--store-limit": "much"}, ("much",)),
        ({"--store": "frames", "--store-limit": "1K"}, ("--store frames",)),
        ({"-u": None}, ("-u",)),
        ({"-d": None}, ("-d",)),
    ],
)
def test_training_refuses(
    weir: Weir, data: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    changed: dict[str, str | None], named: tuple[str, ...],
) -> None:  # fmt: skip
    monkeypatch.setenv("WEIR_CACHE", str(tmp_path / "cache"))  # what other tests stored would be used whatever its size
    given = {"-u": "tera", "-k": str(encoder), "-d": "asr", "--data": str(data), "--preset": "mini", "-n": "bad", "--device": "cpu"}
    words = ["-m", "train"]
    for flag, value in (given | changed).items():
        words += [] if value is None else [flag, *filter(None, [value])]
    assert_refused(weir(*words), *named)
    assert not Path("result").exists()


def test_data_folder_without_the_corpus_is_refused(weir: Weir, tmp_path: Path, encoder: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert_refused(weir(*make.train_words(tmp_path / "run", tmp_path / "empty", encoder)), "LibriSpeech")
    assert not (tmp_path / "run").exists()


def test_folder_that_holds_a_run_is_refused_naming_both_ways_out(weir: Weir, trained: Trained) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in trained.folder.iterdir()}
    assert_refused(weir(*make.train_words(trained.folder, trained.data, trained.encoder)), "-a", "--overwrite")
    assert before == {path.name: path.stat().st_mtime_ns for path in trained.folder.iterdir()}


@pytest.mark.parametrize(
    "words, named",
    [
        (["-u", "fbank"], ("upstream", "fbank", "tera")),
        (["-l", "1"], ("upstream_layer_selection", "1", "None")),
        (["--seed", "4"], ("seed", "4", "1337")),
        (["-f"], ("upstream_trainable", "True", "False")),
        (["--preset", "superb"], ("preset", "superb", "mini")),
        (["-n", "other"], ("other", "trained")),
        (["-k", "tera-mini"], ("tera-mini",)),
        (["-o", "config.head.hiden=3"], ("config.head.hiden", "'hidden'")),
        (["-t", "test-cleen"], ("test-cleen", "'test-clean'")),
        (["--data", "nowhere"], ("nowhere",)),
        (["--overwrite"], ("--overwrite",)),
        (["-a"], ("--auto_resume",)),
        (["--check"], ("--check",)),
    ],
)
def test_evaluation_refuses_flags_that_differ_naming_both_values(
    weir: Weir, trained: Trained, words: list[str], named: tuple[str, ...]
) -> None:
    outcome = weir("-m", "evaluate", "-e", trained.folder / "dev-clean-best.ckpt", *words)
    if words == ["-k", "tera-mini"] and "unknown checkpoint" in outcome.err:
        pytest.skip("tera-mini does not ship yet")
    assert_refused(outcome, *named)


def test_the_same_flags_beside_a_checkpoint_are_no_error(weir: Weir, trained: Trained, tmp_path: Path) -> None:
    words = ["-u", "tera", "-d", "asr", "-k", trained.encoder, "--preset", "mini", "--seed", "1337", "--data", trained.data]
    outcome = weir("-m", "evaluate", "-e", trained.folder, "-p", tmp_path / "there", *words)
    assert outcome.status == 0, outcome.err
    assert (tmp_path / "there" / "results.json").exists()


@pytest.mark.parametrize(
    "words", [["-e", "result/downstream/none/dev-best.ckpt"], ["-e", "result/downstream/none"], ["-u", "tera", "-d", "asr"]]
)
def test_evaluation_without_an_experiment_names_what_is_missing(weir: Weir, words: list[str]) -> None:
    assert_refused(weir("-m", "evaluate", *words), "none" if words[0] == "-e" else "asr-tera")
    assert not Path("result").exists()


def test_experiment_without_a_trained_head_is_refused(weir: Weir, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert_refused(weir("-m", "evaluate", "-e", tmp_path / "empty"), "no head has been trained")
    (tmp_path / "result/downstream/asr-fbank").mkdir(parents=True)
    assert_refused(weir("-m", "evaluate", "-u", "fbank", "-d", "asr"), "no head has been trained", "asr-fbank")


def test_folder_means_its_best_checkpoint_even_where_the_states_are_gone(weir: Weir, trained: Trained, tmp_path: Path) -> None:
    folder = make.copy_of(trained, tmp_path / "kept")
    for path in folder.glob("states-*.ckpt"):
        path.unlink()
    outcome = weir("-m", "evaluate", "-e", folder)
    assert outcome.status == 0, outcome.err
    assert "dev-clean-best.ckpt" in outcome.out


def test_other_weights_under_the_same_name_are_refused(weir: Weir, trained: Trained, tmp_path: Path) -> None:
    folder, encoder = tmp_path / "run", tmp_path / "encoder"
    shutil.copytree(trained.encoder, encoder)
    assert weir(*make.train_words(folder, trained.data, encoder, runner__total_steps=1)).status == 0
    shutil.rmtree(encoder)
    from upstream.tera import Tera, TeraConfig, TransformerConfig

    Tera(
        TeraConfig(transformer=TransformerConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48))
    ).save_native(encoder)
    assert_refused(weir("-m", "evaluate", "-e", folder), "other weights")


def test_auto_resume_of_a_finished_run_says_so_and_changes_nothing(weir: Weir, trained: Trained) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in trained.folder.iterdir()}
    outcome = weir(*make.train_words(trained.folder, trained.data, trained.encoder), "-a")
    assert outcome.status == 0 and "finished" in outcome.err
    assert before == {path.name: path.stat().st_mtime_ns for path in trained.folder.iterdir()}


def test_auto_resume_with_another_flag_is_refused(weir: Weir, trained: Trained) -> None:
    assert_refused(weir(*make.train_words(trained.folder, trained.data, trained.encoder), "-a", "--seed", "2"), "seed", "2", "1337")


def test_resuming_one_run_into_the_folder_of_another_is_refused(weir: Weir, trained: Trained, tmp_path: Path) -> None:
    other = make.copy_of(trained, tmp_path / "other")
    words = ["-m", "train", "-e", trained.folder / "states-2.ckpt", "-p", other]
    assert_refused(weir(*words), str(other), "--overwrite")


def test_overwrite_beside_a_checkpoint_to_go_on_from_is_refused(weir: Weir, trained: Trained, tmp_path: Path) -> None:
    folder = make.copy_of(trained, tmp_path / "copy")
    assert_refused(weir("-m", "train", "-e", folder / "states-2.ckpt", "--overwrite"), "--overwrite")
    assert (folder / "states-2.ckpt").exists()


def test_overwrite_removes_nothing_that_a_run_did_not_write(weir: Weir, trained: Trained, tmp_path: Path) -> None:
    folder = make.copy_of(trained, tmp_path / "copy")
    (folder / "thesis.tex").write_text("years of work")
    words = make.train_words(folder, trained.data, trained.encoder, runner__total_steps=1)
    assert weir(*words, "--overwrite").status == 0
    assert (folder / "thesis.tex").exists()
    assert [path.name for path in folder.glob("states-*.ckpt")] == ["states-1.ckpt"]
    assert make.lines(folder)[-1]["step"] == 1


def test_data_of_a_checkpoint_is_read_where_nothing_else_is_said(
    weir: Weir, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it was WEIR_DATA that named it, and that is gone or names another folder now."""
    monkeypatch.setenv("WEIR_DATA", str(trained.data))
    words = make.train_words(tmp_path / "run", trained.data, trained.encoder, runner__total_steps=1)
    place = words.index("--data")
    assert weir(*words[:place], *words[place + 2 :]).status == 0
    assert checkpoint.load(tmp_path / "run" / "states-1.ckpt")["Args"]["data"] == str(trained.data)
    for value in (None, str(tmp_path)):
        monkeypatch.delenv("WEIR_DATA") if value is None else monkeypatch.setenv("WEIR_DATA", value)
        outcome = weir("-m", "evaluate", "-e", tmp_path / "run")
        assert outcome.status == 0 and "demo" not in outcome.out, outcome


def test_demo_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch, data: Path) -> None:
    from engine.data import named_folder

    monkeypatch.setenv("WEIR_DATA", str(data))
    assert named_folder(None, None) == data.resolve()
    assert named_folder(None, True) is None
    monkeypatch.delenv("WEIR_DATA")
    assert named_folder(None, None) is None
