"""Finding what runs left: every `results.json` below some folders, read and checked, and the predictions beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import downstream
from engine import predictions as saved
from engine import results, sweep
from engine.errors import USER_ERRORS, CheckpointError, ConfigError
from engine.task import HeadTask, Prediction, Task


class _Part(BaseModel):
    """A part of `results.json`; keys that later versions may add are left alone."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class Value(_Part):
    """A metric with its 95 % interval."""

    value: float
    low: float
    high: float
    unit: str = ""
    higher_is_better: bool


class Entry(_Part):
    """The result on one split."""

    metrics: dict[str, Value]
    utterances: int
    checkpoint: str = ""
    selection: str = ""
    step: int | None = None
    demo: bool = False
    date: str = ""


class Cost(_Part):
    """What a run took."""

    seconds: float = 0.0
    peak_memory_bytes: int = 0
    trained_parameters: int = 0


class Record(_Part):
    """`results.json` of one run: the contract of `engine.results`."""

    schema_version: Literal[1] = Field(alias="schema")
    task: str
    upstream: str
    protocol: str
    preset: str
    demo: bool
    config: dict[str, Any] = {}
    seed: int | None = None
    fingerprints: dict[str, Any] = {}
    cost: Cost = Cost()
    splits: dict[str, Entry]

    @property
    def arguments(self) -> dict[str, Any]:
        """What the run keeps of its command line."""
        return dict(self.config.get("args") or {})


@dataclass(frozen=True)
class Run:
    """One experiment.

    Attributes:
        name: its folder, as seen from the folder that was searched.
        sweep: where it is several runs in one (folds, layers), what it says of them.
    """

    name: str
    folder: Path
    record: Record
    sweep: sweep.Sweep | None = None


def task_of(run: Run) -> type[Task] | None:
    """The task of a run; None where the package that brought it is not installed."""
    try:
        found: type[Task] = downstream.registry.load(run.record.task)
    except USER_ERRORS:
        return None
    return found


def test_split(run: Run) -> str:
    """The split whose numbers are reported."""
    task = task_of(run)
    return task.test_split if task else "test"


def lone_variant(run: Run) -> str | None:
    """The fold of a cross-validation that was run alone."""
    task = task_of(run)
    if task is None or not issubclass(task, HeadTask) or not task.variants or (run.sweep and run.sweep.kind == "variants"):
        return None
    return str(run.record.config.get("corpus", {}).get(task.variant_key, task.variants[0]))


def read(folder: Path, name: str | None = None) -> Run:
    """The experiment in a folder. Raises CheckpointError where it has no `results.json`, or a broken one."""
    path = folder / "results.json"
    found = results.read(folder)
    if not found:
        raise CheckpointError(f"no {path}: {folder} is no experiment, or nothing has been evaluated there")
    members = sweep.read(folder) if sweep.is_sweep(folder) else None
    try:
        return Run(name or folder.resolve().name, folder, Record.model_validate(found), members)
    except ValidationError as error:
        odd = "; ".join(f"{'.'.join(map(str, problem['loc'])) or 'all'}: {problem['msg']}" for problem in error.errors()[:3])
        raise CheckpointError(f"{path} is no result of this version ({odd}); evaluate again") from None


def collect(folders: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """Every run below some folders, by name, and one message for each `results.json` that cannot be used.

    Raises:
        ConfigError: a folder does not exist, or there is no result in any of them.
    """
    runs: dict[Path, Run] = {}
    problems: dict[Path, str] = {}
    for top in folders:
        if not top.is_dir():
            raise ConfigError(f"no folder {top}: name the folders that hold experiments, such as result/downstream")
        for folder in experiments(top):
            key = folder.resolve()
            if key in runs or key in problems:
                continue
            try:
                runs[key] = read(folder, None if folder == top else folder.relative_to(top).as_posix())
            except CheckpointError as error:
                problems[key] = str(error)
    if not runs and not problems:
        names = ", ".join(map(str, folders))
        raise ConfigError(f"no results.json below {names}: run_downstream.py -m evaluate writes one into an experiment's folder")
    return sorted(runs.values(), key=lambda run: run.name), list(problems.values())


def experiments(top: Path) -> Iterator[Path]:
    """Folders with a `results.json`, in order; the members of a sweep belong to the sweep, and hidden folders to nobody."""
    for place, folders, files in os.walk(top):
        folders[:] = [] if sweep.FILE in files else sorted(name for name in folders if not name.startswith("."))
        if "results.json" in files:
            yield Path(place)


def predictions(run: Run, split: str) -> dict[str, list[Prediction]]:
    """The saved predictions of a split: under "" those of a plain run, of the best layer or of the one head of the best learning
    rate, else those of each fold by its name.

    Raises:
        CheckpointError: the run has no result of the split, or its predictions are missing or broken.
        ConfigError: the run is a mean over several seeds.
    """
    if split not in run.record.splits:
        raise CheckpointError(f"{run.folder} has no result of split {split}, only of {', '.join(run.record.splits) or 'none'}")
    if run.sweep is None:
        return {"": saved.read(run.folder, split)}
    if run.sweep.kind == "layers":
        return {"": saved.read(run.folder / PurePath(run.record.splits[split].checkpoint).parts[0], split)}
    if run.sweep.kind == "rates":
        if len(run.sweep.chosen) != 1:
            heads = run.sweep.chosen or run.sweep.members
            raise ConfigError(f"{run.folder} is a mean of {len(heads)} heads: name one of them, such as {run.folder / heads[0]}")
        return {"": saved.read(run.folder / run.sweep.chosen[0], split)}
    return {name: saved.read(run.folder / name, split) for name in run.sweep.members}
