"""s3prl's names of tasks and configurations."""

from __future__ import annotations

import argparse

import pytest

import downstream
from engine import aliases
from engine.errors import ConfigError


def typed(task: str | None, config: str | None = None) -> argparse.Namespace:
    return argparse.Namespace(downstream=task, config=config, preset=None)


@pytest.mark.parametrize(
    "task, config, meant",
    [
        ("speech_commands", None, "ks"),
        ("voxceleb1", None, "sid"),
        ("sv_voxceleb1", None, "asv"),
        ("fluent_commands", None, "ic"),
        ("emotion", None, "er"),
        ("audio_snips", None, "sf"),
        ("quesst14_dtw", None, "qbe"),
        ("diarization", None, "sd"),
        ("ctc", "downstream/ctc/libriphone.yaml", "pr"),
        ("ctc", "./downstream/ctc/snips.yaml", "sf"),
    ],
)
def test_old_names_mean_our_tasks_and_are_printed(task: str, config: str | None, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    args = typed(task, config)
    aliases.apply(args)
    assert (args.downstream, args.config) == (meant, None)
    assert meant in downstream.registry.names()
    assert f"{task} is {meant}" in capsys.readouterr().err


def test_own_names_and_own_files_stay(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "downstream" / "asr" / "config.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("task: asr")
    args = typed("asr", str(own))
    aliases.apply(args)
    assert (args.downstream, args.config) == ("asr", str(own)) and capsys.readouterr().err == ""


@pytest.mark.parametrize("config", [None, "downstream/ctc/librispeech.yaml"])
def test_ctc_alone_names_both_tasks(config: str | None) -> None:
    with pytest.raises(ConfigError, match=r"pr .*libriphone.yaml.* or -d sf .*snips.yaml"):
        aliases.apply(typed("ctc", config))


def test_recipe_of_another_task_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"recipe of sf, and -d names ks"):
        aliases.apply(typed("ks", "downstream/ctc/snips.yaml"))
