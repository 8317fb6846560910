"""The configuration: every problem at once, the nearest key named, overrides, and the shipped recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import downstream
import pretrain
from downstream.asr import ASR
from engine import config, yaml12
from engine.config import CONFIGS, ConfigError, Store, downstream_schema, override, pretrain_schema, resolve

SUPERB = CONFIGS / "downstream" / "superb" / "asr.yaml"
SCHEMA = downstream_schema(ASR)


def refused(text: str | None, path: Path = SUPERB) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve(SCHEMA, path, text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("path", sorted((CONFIGS / "downstream").glob("*/*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_shipped_downstream_recipe_is_valid(path: Path) -> None:
    found = resolve(downstream_schema(downstream.registry.load(path.stem)), path, None)
    assert found.task == path.stem
    again = config.validate(type(found), yaml12.parse(yaml12.write(found.model_dump(mode="json")), "saved"), "saved")
    assert again == found  # what a run saves whole means the same


@pytest.mark.parametrize("path", sorted((CONFIGS / "pretrain").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_pretraining_recipe_is_valid(path: Path) -> None:
    task = yaml12.read(path)["task"]
    assert resolve(pretrain_schema(pretrain.registry.load(task)), path, None).task == task


def test_every_task_has_both_presets() -> None:
    for name in downstream.registry.names():
        assert all((CONFIGS / "downstream" / preset / f"{name}.yaml").is_file() for preset in ("superb", "mini"))


def test_superbs_recipe_of_asr_has_the_published_numbers() -> None:
    """superb_tasks.md 2.3 (SpecAugment), 4.1, 4.3, 4.4 and the cheat sheet, from s3prl downstream/asr/config.yaml."""
    found = resolve(SCHEMA, SUPERB, None)
    assert found.protocol == "superb"
    assert found.corpus.train == ["train-clean-100"]
    assert (found.corpus.batching.method, found.corpus.batching.batch_size, found.corpus.batching.halved) == ("fixed", 32, True)
    head = found.head.model_dump()
    assert head == {"projection": 1024, "hidden": 1024, "layers": 2, "dropout": 0.2, "total_rate": -1, "sample_style": "concat"}
    runner = found.runner
    assert (runner.total_steps, runner.gradient_clipping, runner.gradient_accumulate_steps) == (200_000, 1.0, 1)
    assert runner.eval_step == 2000 and runner.eval_dataloaders == ["dev-clean"]
    assert (found.optimizer.name, found.optimizer.lr, found.optimizer.weight_decay) == ("Adam", 1e-4, 0.0)
    assert found.scheduler is None
    augment = found.specaug
    assert (augment.time_warp_window, augment.freq_mask_width_range, augment.num_freq_mask) == (5, (0, 50), 4)
    assert (augment.time_mask_width_range, augment.num_time_mask, augment.freq_mask_scale_dim) == ((0, 40), 2, None)


def test_unknown_key_is_refused_with_the_nearest_and_all_valid_ones() -> None:
    message = refused("config.optimizer.lrr=1")
    assert "unknown key 'config.optimizer.lrr': did you mean 'lr'?" in message
    assert "momentum" in refused("config.optimizer.zzzzzz=1")
    assert "did you mean 'optimizer'?" in refused("config.optimiser.lr=1")
    assert "did you mean 'batch_size'?" in refused("config.corpus.batching.batchsize=1")


def test_all_problems_are_reported_at_once() -> None:
    message = refused("config.optimizer.lr=fast,,config.runner.total_step=3,,config.head.hidden=-1,,config.protocol=exact")
    for part in (
        "'config.optimizer.lr' = 'fast'",
        "'config.runner.total_step':",
        "'config.head.hidden' = '-1'",
        "'config.protocol' = 'exact'",
    ):
        assert part in message


@pytest.mark.parametrize(
    "text",
    [
        "config.optimizer.lr=fast",
        "config.optimizer.lr=0",
        "config.optimizer.lr=.nan",
        "config.runner.total_steps=1.5",
        "config.runner.eval_dataloaders=dev-clean",
        "config.optimizer=3",
        "config.optimizer=",
        "config.store.limit=10X",
        "config.store.limit=10KM",
        "config.store.limit=inf",
        "config.store.limit=-1G",
        "config.specaug.time_mask_width_range=[0, 0]",
        "config.specaug.time_mask_width_range=[9, 3]",
        "config.specaug.freq_mask_width_range=[-2, 3]",
        "config.task=pr",
        "config.corpus.batching.method=fixed,,config.corpus.batching.batch_size=",
    ],
)
def test_value_that_cannot_be_used_is_refused_by_name(text: str) -> None:
    key = text.split(",,")[0].split("=")[0]
    assert key.rpartition(".")[0] in refused(text)


@pytest.mark.parametrize(
    "text", ["optimizer.lr=1", "config.lr", "config=1", "config..lr=1", "args.expdir=x", "config.optimizer.lr.x=1", "=1"]
)
def test_override_of_another_form_is_refused(text: str) -> None:
    assert text in refused(text)


def test_overrides_take_several_values_and_spaces() -> None:
    found = resolve(
        SCHEMA,
        SUPERB,
        " config.optimizer.lr = 1e-3 ,, config.runner.total_steps=10,,config.runner.eval_dataloaders=[dev-clean, dev-other],,",
    )
    assert (found.optimizer.lr, found.runner.total_steps, found.runner.eval_dataloaders) == (1e-3, 10, ["dev-clean", "dev-other"])


def test_override_can_add_and_clear_a_block() -> None:
    assert resolve(SCHEMA, SUPERB, "config.scheduler.name=cosine").scheduler.name == "cosine"
    assert resolve(SCHEMA, SUPERB, "config.specaug=null").specaug is None


def test_override_changes_a_copy() -> None:
    values: dict[str, Any] = {"a": {"b": 1}}
    assert override(values, "config.a.b=2") == {"a": {"b": 2}} and values == {"a": {"b": 1}}


def test_s3prls_names_of_blocks_are_aliases_in_overrides_and_files(tmp_path: Path) -> None:
    text = "config.downstream_expert.modelrc.hidden=7,,config.downstream_expert.datarc.train=[train-clean-360]"
    found = resolve(SCHEMA, SUPERB, text)
    assert (found.head.hidden, found.corpus.train) == (7, ["train-clean-360"])
    values = yaml12.read(SUPERB)
    values["downstream_expert"] = {"modelrc": {**values.pop("head"), "hidden": 9}, "datarc": values.pop("corpus")}
    path = tmp_path / "old.yaml"
    path.write_text(yaml12.write(values))
    assert resolve(SCHEMA, path, None).head.hidden == 9
    values["downstream_expert"]["modelrc"]["hiden"] = 3
    values["downstream_expert"]["other"] = 1
    path.write_text(yaml12.write(values))
    message = refused(None, path)
    assert "config.head.hiden" in message and "downstream_expert" in message


def test_place_of_the_data_is_not_an_override_that_is_ignored() -> None:
    """`--data` says where the data is; `-o config.corpus.root=…` would be overridden without a word."""
    assert "--data" in refused("config.corpus.root=/data")
    assert "--demo" in refused("config.corpus.demo=true")


@pytest.mark.parametrize("text, size", [("10G", 10 * 2**30), ("500M", 500 * 2**20), ("1.5K", 1536), ("2T", 2**41), ("123", 123)])
def test_sizes(text: str, size: int) -> None:
    assert Store(limit=text).limit_bytes() == size
