"""`results.json`, one record a run, and the table that evaluation prints."""

from __future__ import annotations

import json
import platform
import resource
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corpus.files import write_atomically
from engine.errors import CheckpointError

if TYPE_CHECKING:
    from engine.task import Metric, Score

SCHEMA = 1
PACKAGES = ("weir", "torch", "torchaudio", "lhotse", "accelerate")


@dataclass(frozen=True)
class Cost:
    """What a run took. `seconds` of work, largest memory of the process (of the device, on a GPU)."""

    seconds: float
    peak_memory_bytes: int
    trained_parameters: int


def versions() -> dict[str, str]:
    """Versions of Weir, Python and the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"  # Weir run from its folder
    return found


def peak_memory_bytes() -> int:
    """Largest memory so far: on the GPU where one is used, else of this process."""
    import torch

    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def metric_entries(metrics: Sequence[Metric], scores: Mapping[str, Score]) -> dict[str, dict[str, Any]]:
    """The `metrics` of a split entry."""
    found = [metric for metric in metrics if metric.name in scores]
    return {
        metric.name: {
            "value": score.value, "low": score.low, "high": score.high, "unit": metric.unit, "higher_is_better": metric.higher_is_better,
        }
        for metric in found if (score := scores[metric.name])
    }  # fmt: skip


def entry(
    metrics: Sequence[Metric], scores: Mapping[str, Score], *, utterances: int, checkpoint: str, step: int,
    selection: str, demo: bool, fingerprints: Mapping[str, str], store: Mapping[str, Any], cost: Cost,
) -> dict[str, Any]:  # fmt: skip
    """A split's entry, made now; `store` says where its representations came from."""
    return {
        "metrics": metric_entries(metrics, scores),
        "utterances": utterances,
        "checkpoint": checkpoint,
        "step": step,
        "selection": selection,
        "demo": demo,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "fingerprints": dict(fingerprints),
        "store": dict(store),
        "versions": versions(),
        "cost": asdict(cost),
    }


def read(folder: Path) -> dict[str, Any]:
    """The record in a folder; empty where there is none. Raises CheckpointError where it is broken."""
    path = folder / "results.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(record, dict):
            raise ValueError(f"a {type(record).__name__}, not an object")
        return record
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is broken ({error}); move it away and evaluate again") from None


def check_same_run(folder: Path, record: dict[str, Any]) -> None:
    """Refuse to write a run's results over those of another. Raises CheckpointError naming what differs."""
    there = read(folder)
    for key in ("task", "upstream", "protocol", "seed", "fingerprints") if there else ():
        if there.get(key) != record[key]:
            raise CheckpointError(f"{folder} holds the results of another run ({key} {there.get(key)}, not {record[key]}); give -p DIR")
    for block in ("quirks", "corpus", "head") if there else ():
        before, now = (each["config"].get(block) or {} for each in (there, record))
        known = before.keys() | now.keys() if block == "quirks" else before.keys() & now.keys()  # a later version may know more
        for key in sorted(known - NOT_SCORING):
            if before.get(key) != now.get(key):
                raise CheckpointError(
                    f"{folder} holds results with config.{block}.{key} {before.get(key)}, not {now.get(key)}; give -p DIR"
                )


NOT_SCORING = {"root", "demo", "manifests", "batching"}
"""Keys of the corpus block that say where data is, or how it is trained on."""


def update(folder: Path, record: dict[str, Any], split: str, entry: dict[str, Any]) -> None:
    """Add or replace a split's entry; `record` holds the run's own keys."""
    splits = {**read(folder).get("splits", {}), split: entry}
    write_atomically(
        folder / "results.json", json.dumps({"schema": SCHEMA, **record, "splits": splits}, indent=2, ensure_ascii=False) + "\n"
    )


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text in aligned columns, the first row as the header; all columns but the first to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    ruled = [rows[0], ["-" * width for width in widths], *rows[1:]]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in ruled)


def score_rows(split: str, entry: dict[str, Any]) -> list[list[str]]:
    """A split's metrics as rows for `table`: split, metric, value, interval, utterances, checkpoint, mark."""
    mark = "demo" if entry["demo"] else ""
    rest = [str(entry["utterances"]), entry["checkpoint"], mark]
    return [
        [split, name, _figure(found["value"], found), f"{_bare(found['low'], found)} – {_bare(found['high'], found)}", *rest]
        for name, found in entry["metrics"].items()
    ]


def _figure(value: float, metric: Mapping[str, Any]) -> str:
    return f"{_bare(value, metric)} {metric['unit']}".strip()


def _bare(value: float, metric: Mapping[str, Any]) -> str:
    """Two digits of a percentage, four of a fraction."""
    return f"{value:.2f}" if metric["unit"] == "%" else f"{value:.4f}"


SCORE_HEADER = ["split", "metric", "value", "95 % interval", "utterances", "checkpoint", "data"]
