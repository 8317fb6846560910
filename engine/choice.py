"""What the heads of a sweep over learning rates and seeds give together: the rate that is the best on dev, means over its seeds, a table
and a picture.

`results.json` of the sweep's folder holds, of each metric, the mean over the seeds of the chosen rate with its 95 % interval (Student's
t); `rates.json` and `rates.png` show the main metric on dev over the rates.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from corpus.files import write_atomically
from engine import results, sweep
from engine.errors import CheckpointError
from engine.task import HeadTask


def choose(folder: Path, task: type[HeadTask]) -> None:
    """Choose the rate by the mean of its heads on dev, and write that down. A rate with a head that stopped is not chosen.

    Raises:
        CheckpointError: results are missing, or every rate has a head that stopped.
    """
    found, dev = sweep.read(folder), task.dev_split
    records = {name: results.read(folder / name) for name in found.members if name not in found.stopped}
    values = {name: _main(record, dev, folder / name) for name, record in records.items()}
    means = {
        rate: statistics.fmean(values[name]["value"] for name in names)
        for rate, names in _by_rate(found).items()
        if all(name in values and _is_number(values[name]["value"]) for name in names)
    }
    if not means:
        why = next(iter(found.stopped.values()), f"their metric on {dev} is no number")
        raise CheckpointError(f"{folder}: every learning rate has a head that stopped ({why}); lower them")
    main = next(iter(values.values()))
    chosen = max(means, key=lambda rate: means[rate] * (1 if main["higher_is_better"] else -1))
    found.chosen[:] = _by_rate(found)[chosen]
    sweep.write(folder, found)
    heads = [
        {"rate": rate, "head": name, "value": values[name]["value"] if name in values and _is_number(values[name]["value"]) else None}
        for name, rate in zip(found.members, found.rates, strict=True)
    ]
    kept = {"metric": main["metric"], "unit": main["unit"], "higher_is_better": main["higher_is_better"], "split": dev}
    write_atomically(folder / "rates.json", json.dumps({**kept, "chosen": chosen, "heads": heads}, indent=2) + "\n")
    drawn = {
        rate: [values[name]["value"] for name in names] for rate, names in _by_rate(found).items() if rate is not None and rate in means
    }
    if len(drawn) > 1:
        _draw(folder, drawn, main, dev, next(iter(records.values())))


def average(folder: Path, splits: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Write what the heads of the chosen rate give on these splits. Returns the entries.

    Raises:
        CheckpointError: results of a split are missing.
    """
    chosen = sweep.read(folder).chosen
    records = [results.read(folder / name) for name in chosen]
    others = [results.read(folder / name) for name in sweep.read(folder).members if name not in chosen]
    whole = sweep.record([*records, *(record for record in others if record)]) | {"seeds": [record["seed"] for record in records]}
    entries = {}
    for split in splits:
        of_heads = [record.get("splits", {}).get(split) for record in records]
        if not all(of_heads):
            missing = [name for name, entry in zip(chosen, of_heads, strict=True) if not entry]
            raise CheckpointError(f"{folder}: {', '.join(missing)} have no results of split {split}; evaluate the sweep on it first")
        entries[split] = _mean(chosen, of_heads)
        results.update(folder, whole, split, entries[split])
    return entries


def table(folder: Path, mark: str = "") -> str:
    """Each rate with the mean of its heads on dev, and the chosen one.

    Args:
        mark: stands beside the numbers, such as " (demo)".
    """
    found, kept = sweep.read(folder), json.loads((folder / "rates.json").read_text())
    values = {head["head"]: head["value"] for head in kept["heads"]}
    unit = f" {kept['unit']}" if kept["unit"] else ""
    rows = [["learning rate", f"{kept['split']}{mark} {kept['metric']}{unit}", "lowest", "highest", "heads", ""]]
    for rate, names in _by_rate(found).items():
        of_rate = [values[name] for name in names if values[name] is not None]
        figures = [f"{figure(of_rate):.2f}" if of_rate else "–" for figure in (statistics.fmean, min, max)]
        stopped = sum(name in found.stopped for name in names)
        note = "chosen" if rate == kept["chosen"] else f"{stopped} stopped" if stopped else ""
        rows.append([f"{rate:g}", *figures, str(len(names)), note])
    rates = sorted(_by_rate(found))
    edge = {rates[0]: "lowest", rates[-1]: "highest"}.get(kept["chosen"]) if len(rates) > 1 else None
    hint = f"\nthe best rate is the {edge} that was tried: {'lower' if edge == 'lowest' else 'higher'} ones may be better" if edge else ""
    return results.table(rows) + hint


def _by_rate(found: sweep.Sweep) -> dict[float, list[str]]:
    """The heads of each rate, in the order given."""
    names: dict[float, list[str]] = {}
    for name, rate in zip(found.members, found.rates, strict=True):
        names.setdefault(rate, []).append(name)
    return names


def _main(record: Mapping[str, Any], split: str, folder: Path) -> dict[str, Any]:
    """The main metric of a split, with its name."""
    entry = record.get("splits", {}).get(split)
    if not entry:
        raise CheckpointError(f"{folder} has no results of split {split}; go on with -a")
    name, found = next(iter(entry["metrics"].items()))
    return {"metric": name, **found}


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _mean(names: Sequence[str], entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The entry of a split over heads of one rate, with Student's interval; of one head its own."""
    from scipy import stats

    first = entries[0]
    ends = [f"{name}/{entry['checkpoint']}" for name, entry in zip(names, entries, strict=True)]
    if len(entries) == 1:
        return {**first, "checkpoint": ends[0]}
    metrics = {}
    for name, metric in first["metrics"].items():
        values = [float(entry["metrics"][name]["value"]) for entry in entries]
        mean = statistics.fmean(values)
        half = float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
        metrics[name] = {**metric, "value": mean, "low": mean - half, "high": mean + half, "values": values}
    same = len({entry["checkpoint"] for entry in entries}) == 1
    checkpoint = f"{names[0]}…{names[-1]}/{first['checkpoint']}" if same else f"{ends[0]}…{ends[-1]}"
    cost = {**first["cost"], "seconds": math.fsum(entry["cost"]["seconds"] for entry in entries)}
    return {**first, "metrics": metrics, "checkpoint": checkpoint, "cost": cost}


def _draw(folder: Path, values: Mapping[float, Sequence[float]], main: Mapping[str, Any], split: str, record: Mapping[str, Any]) -> None:
    from engine import plots

    ordered = sorted(values)
    label = f"{split} {main['metric']} {main['unit']}".strip()
    title = f"{record.get('task', '')}{' (demo)' if record.get('demo') else ''}"
    plots.metric_over_rates(folder / "rates.png", ordered, [values[rate] for rate in ordered], label, title)
