"""One command, several runs: every fold of a cross-validation (`-v all`), one head a hidden state (`--layers all`), or learning rates
and seeds (`grid.py`).

Each member is a run of its own in a sub-folder. What they give together stands in the folder's `results.json`: the mean over folds, or
the layer that is the best one on dev; `sweep.json` names the members, `layers.json` and `layers.png` show the metric over the layers.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Sequence
from copy import copy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from corpus.files import write_atomically
from engine import experiment, results
from engine.errors import CheckpointError, ConfigError
from engine.plan import named_task, plan_evaluation, plan_training
from engine.task import HeadTask, Metric
from upstream.registry import Registry

Kind = Literal["variants", "layers", "rates"]
FILE = experiment.SWEEP
is_sweep = experiment.is_sweep


@dataclass(frozen=True)
class Sweep:
    """What a sweep's folder says of itself.

    Attributes:
        members: sub-folders, in order.
        rates: the learning rate of each member of a sweep over rates and seeds.
        stopped: members that did not train to the end, and why.
        chosen: members of the chosen rate.
    """

    kind: Kind
    task: str
    members: list[str]
    rates: list[float] = field(default_factory=list)
    stopped: dict[str, str] = field(default_factory=dict)
    chosen: list[str] = field(default_factory=list)


def asked_for(args: argparse.Namespace) -> Kind | None:
    """Which sweep the command line asks for."""
    asked: dict[Kind, tuple[str, bool]] = {
        "layers": ("--layers all", bool(args.layers)),
        "variants": ("-v all", args.downstream_variant == "all"),
        "rates": ("--sweep or --seeds", args.sweep is not None or args.seeds is not None),
    }
    kinds = [kind for kind, (_, given) in asked.items() if given]
    if len(kinds) > 1:
        raise ConfigError(f"{' and '.join(asked[kind][0] for kind in kinds)}: give one of them")
    return kinds[0] if kinds else None


def train(kind: Kind, args: argparse.Namespace, tasks: Registry) -> int:
    """Train every member, then write down what they give together on dev."""
    if args.past_exp or args.check:
        raise ConfigError(f"{'-e' if args.past_exp else '--check'} means one run; name the fold with -v, or the layer with -l")
    plain = copy(args)
    plain.downstream_variant = plain.layers = None
    task, folder = named_task(plain, tasks)
    experiment.claim_sweep(folder, bool(args.auto_resume), bool(args.overwrite))
    members = _members(kind, plain, task, folder, tasks)
    check_same(folder, kind, [name for name, _ in members], bool(args.overwrite))
    plans = [(name, changed, plan_training(changed, tasks)) for name, changed in _each(plain, folder, members)]
    _, _, first = plans[0]
    if kind == "layers" and task.dev_split not in first.config.runner.eval_dataloaders:  # type: ignore[attr-defined]
        raise ConfigError(f"--layers all chooses the layer on {task.dev_split}: name it in config.runner.eval_dataloaders")
    from engine import training
    from engine.device import is_main_process

    for number, (name, changed, plan) in enumerate(plans, 1):
        print(f"{name} ({number} of {len(plans)})", file=sys.stderr)
        if number == 1:
            experiment.prepare(folder, bool(args.overwrite), resume=True)
            write(folder, Sweep(kind, task.name, [name for name, _ in members]))
        training.run(plan, changed)
    if is_main_process():
        if all(task.dev_split in results.read(folder / name).get("splits", {}) for name, _ in members):
            combine(folder, task, [task.dev_split])
        print(f"trained: {folder}\nevaluate it: python run_downstream.py -m evaluate -e {folder}", file=sys.stderr)
    return 0


def evaluate(folder: Path, args: argparse.Namespace, tasks: Registry) -> int:
    """Evaluate every member, then write down and print what they give together."""
    from engine import evaluating
    from engine.device import is_main_process

    if args.expdir:
        raise ConfigError("-p is for one checkpoint; a sweep's results stand in its own folder")
    found = read(folder)
    task: type[HeadTask] = tasks.load(found.task)
    for name in found.members:
        member = copy(args)
        member.past_exp, member.expname, member.downstream_variant = str(folder / name), None, None
        evaluating.evaluate(plan_evaluation(member, tasks), member)
    if is_main_process():
        entries = combine(folder, task, args.evaluate_split or [task.test_split])
        evaluating.show(folder, results.read(folder), entries, bool(args.json))
    return 0


def check_same(folder: Path, kind: Kind, members: Sequence[str], overwrite: bool) -> None:
    """Refuse to go on with a sweep of another kind or of other members."""
    if overwrite or not is_sweep(folder):
        return
    there = read(folder)
    if (there.kind, there.members) != (kind, list(members)):
        raise ConfigError(
            f"{folder} holds the runs {', '.join(there.members)}, and the command means {', '.join(members)}: "
            "name the same ones, give --overwrite to replace them, or -n for another name"
        )


def read(folder: Path) -> Sweep:
    """The sweep in a folder. Raises CheckpointError where its file is broken."""
    members = experiment.sweep_members(folder)
    try:
        found = Sweep(**json.loads((folder / FILE).read_text()))
        if found.kind not in get_args(Kind) or not isinstance(found.task, str) or found.members != members:
            raise ValueError("it names no kind, task and members")
        if len(found.rates) != (len(members) if found.kind == "rates" else 0):
            raise ValueError(f"{len(found.rates)} rates for {len(members)} members")
        if odd := [name for name in (*found.stopped, *found.chosen) if name not in members]:
            raise ValueError(f"{odd[0]!r} is none of its members")
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{folder / FILE} is broken ({error}); train the sweep again with --overwrite") from None
    return found


def write(folder: Path, content: Sweep) -> None:
    """Write a sweep's file."""
    write_atomically(folder / FILE, json.dumps(asdict(content), indent=2) + "\n")


def _members(kind: Kind, args: argparse.Namespace, task: type[HeadTask], folder: Path, tasks: Registry) -> list[tuple[str, dict[str, Any]]]:
    """Sub-folder and changed arguments of each member."""
    if kind == "variants":
        if not getattr(task, "variants", ()):
            raise ConfigError(f"-v all: {task.name} has no variants; leave it out")
        return [(name, {"downstream_variant": name}) for name in task.variants]
    if args.upstream_layer_selection is not None or args.upstream_feature_selection is not None:
        raise ConfigError("--layers all takes every hidden state in turn: leave -l and -s out")
    import upstream

    [(_, first)] = _each(args, folder, [("layer0", {"upstream_layer_selection": 0})])
    arguments = plan_training(first, tasks).arguments
    layers = upstream.load(arguments.upstream, arguments.upstream_ckpt).num_states
    return [(f"layer{layer}", {"upstream_layer_selection": layer}) for layer in range(layers)]


def _each(args: argparse.Namespace, folder: Path, members: Sequence[tuple[str, dict[str, Any]]]) -> list[tuple[str, argparse.Namespace]]:
    """The command line of each member."""
    found = []
    for name, changes in members:
        changed = argparse.Namespace(**{**vars(args), **changes, "expdir": str(folder / name), "expname": None})
        found.append((name, changed))
    return found


def combine(folder: Path, task: type[HeadTask], splits: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Write what the members give together on these splits into the folder's results. Returns the entries."""
    found = read(folder)
    records = [results.read(folder / name) for name in found.members]
    entries = {}
    for split in splits:
        of_split = [record.get("splits", {}).get(split) for record in records]
        if not all(of_split):
            missing = [name for name, entry in zip(found.members, of_split, strict=True) if not entry]
            raise CheckpointError(f"{folder}: {', '.join(missing)} have no results of split {split}; evaluate the sweep on it first")
        entries[split] = (
            _mean(found.members, of_split) if found.kind == "variants" else _best(found.members, records, task.dev_split, split)
        )
        results.update(folder, record(records), split, entries[split])
    if found.kind == "layers":
        _draw(folder, records)
    return entries


def record(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The keys of the sweep: those of its first member, with the cost of all."""
    costs = [record["cost"] for record in records]
    cost = {
        "seconds": math.fsum(cost["seconds"] for cost in costs),
        "peak_memory_bytes": max(cost["peak_memory_bytes"] for cost in costs),
        "trained_parameters": costs[0]["trained_parameters"],
    }
    return {key: value for key, value in records[0].items() if key not in ("schema", "splits")} | {"cost": cost}


def _mean(members: Sequence[str], entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The mean of each metric over the folds. Folds are independent, so that half widths of intervals add in squares."""
    first = entries[0]
    metrics = {}
    for name, metric in first["metrics"].items():
        values = [entry["metrics"][name] for entry in entries]
        count = len(values)
        value = math.fsum(found["value"] for found in values) / count
        below = math.sqrt(math.fsum((found["value"] - found["low"]) ** 2 for found in values)) / count
        above = math.sqrt(math.fsum((found["high"] - found["value"]) ** 2 for found in values)) / count
        metrics[name] = {**metric, "value": value, "low": value - below, "high": value + above}
    corpora = "".join(entry["fingerprints"]["corpus"] for entry in entries)
    cost = {"seconds": math.fsum(entry["cost"]["seconds"] for entry in entries), "trained_parameters": 0}
    return {
        **first,
        "metrics": metrics,
        "utterances": sum(entry["utterances"] for entry in entries),
        "checkpoint": f"{members[0]}…{members[-1]}/{first['checkpoint']}",
        "fingerprints": {**first["fingerprints"], "corpus": hashlib.sha256(corpora.encode()).hexdigest()},
        "cost": {**cost, "peak_memory_bytes": max(entry["cost"]["peak_memory_bytes"] for entry in entries)},
    }


def _best(members: Sequence[str], records: Sequence[dict[str, Any]], dev: str, split: str) -> dict[str, Any]:
    """The entry of the layer that is the best one on dev (by the task's main metric, its first)."""
    lacking = [name for name, record in zip(members, records, strict=True) if dev not in record.get("splits", {})]
    if lacking:
        raise CheckpointError(f"{', '.join(lacking)} have no results of split {dev}, on which the layer is chosen")
    on_dev = [next(iter(record["splits"][dev]["metrics"].values())) for record in records]
    sign = 1 if on_dev[0]["higher_is_better"] else -1
    place = max(range(len(records)), key=lambda index: sign * on_dev[index]["value"])
    entry = records[place]["splits"][split]
    return {**entry, "checkpoint": f"{members[place]}/{entry['checkpoint']}"}


def _draw(folder: Path, records: Sequence[dict[str, Any]]) -> None:
    """The main metric over the layers, for every split that all members have."""
    splits = [split for split in records[0]["splits"] if all(split in record["splits"] for record in records)]
    name, metric = next(iter(records[0]["splits"][splits[0]]["metrics"].items()))
    values = {split: [record["splits"][split]["metrics"][name]["value"] for record in records] for split in splits}
    mark = " (demo)" if records[0]["demo"] else ""
    write_layers(folder, Metric(name, metric["unit"], metric["higher_is_better"]), values, f"{records[0]['task']}{mark}")


def write_layers(folder: Path, metric: Metric, values: dict[str, list[float]], title: str) -> None:
    """`layers.json` and `layers.png`: a metric over the hidden states, by split."""
    from engine import plots

    found = {"metric": metric.name, "unit": metric.unit, "higher_is_better": metric.higher_is_better, "values": values}
    write_atomically(folder / "layers.json", json.dumps(found, indent=2) + "\n")
    plots.metric_over_layers(folder / "layers.png", values, f"{metric.name} {metric.unit}".strip(), title)
