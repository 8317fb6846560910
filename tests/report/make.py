"""Made-up experiments: folders as runs leave them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import downstream
from engine.config import CONFIGS, downstream_schema, resolve
from engine.task import Prediction
from report import published

Metrics = Mapping[str, float]


def metrics(task: str, values: Metrics) -> dict[str, dict[str, Any]]:
    """The metrics of a split entry, with intervals of ± 1 %."""
    known = {metric.name: metric for metric in downstream.registry.load(task).metrics}
    return {
        name: {
            "value": value,
            "low": value * 0.99,
            "high": value * 1.01,
            "unit": known[name].unit,
            "higher_is_better": known[name].higher_is_better,
        }
        for name, value in values.items()
    }


@cache
def recipe(task: str, preset: str) -> dict[str, Any]:
    """The configuration of a run that changes nothing."""
    path = CONFIGS / "downstream" / preset / f"{task}.yaml"
    return resolve(downstream_schema(downstream.registry.load(task)), path, None).model_dump(mode="json")


def record(
    task: str, values: Metrics, *, upstream: str = "fbank", split: str | None = None, preset: str = "superb", demo: bool = False,
    config: Mapping[str, Any] | None = None, args: Mapping[str, Any] | None = None, entry: Mapping[str, Any] | None = None, **keys: Any,
) -> dict[str, Any]:  # fmt: skip
    """A `results.json` with one split, the test split by default; as large as the real one on real data."""
    size = 10 if demo else published.load().test_size.get(task, 10)
    found = {
        "metrics": metrics(task, values), "utterances": size, "checkpoint": "dev-best.ckpt", "step": 100, "selection": "dev",
        "demo": demo, "date": "2026-01-01T00:00:00+00:00", "fingerprints": {"upstream": "aa" * 32, "corpus": "bb" * 32},
        "versions": {}, "cost": {"seconds": 1.0, "peak_memory_bytes": 2**30, "trained_parameters": 0},
    }  # fmt: skip
    return {
        "schema": 1,
        "task": task,
        "upstream": upstream,
        "protocol": "superb",
        "preset": preset,
        "demo": demo,
        "config": {
            **recipe(task, "mini" if preset == "mini" else "superb"),
            **(config or {}),
            "args": {"upstream": upstream, **(args or {})},
        },
        "seed": 1337,
        "versions": {},
        "fingerprints": {"upstream": "aa" * 32, "corpus": "bb" * 32},
        "cost": {"seconds": 60.0, "peak_memory_bytes": 2**31, "trained_parameters": 1000},
        "splits": {split or downstream.registry.load(task).test_split: {**found, **(entry or {})}},
    } | keys


def experiment(folder: Path, found: Mapping[str, Any], predictions: Sequence[Prediction] = ()) -> Path:
    """Write an experiment's folder; the predictions are those of every split."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(found))
    for split in found["splits"]:
        (folder / "predictions").mkdir(exist_ok=True)
        lines = [json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in predictions]
        (folder / "predictions" / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def sweep(folder: Path, kind: str, task: str, members: Sequence[str]) -> None:
    """Make a folder that of a sweep."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sweep.json").write_text(json.dumps({"kind": kind, "task": task, "members": list(members)}))
