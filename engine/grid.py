"""`--sweep lr=… --seeds N`: a head for every learning rate and seed, all trained at once; the rate that is the best on dev is reported.

Each head is a run of its own in a sub-folder. `results.json` of the whole folder holds the mean over the seeds of the chosen rate with its
95 % interval (Student's t); `rates.json` and `rates.png` show the metric over the rates.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corpus.files import write_atomically
from engine import experiment, rates, results, sweep
from engine.errors import CheckpointError, ConfigError
from engine.plan import Plan, named_task, plan_evaluation, plan_from_checkpoint, plan_training
from engine.task import HeadTask
from upstream.registry import Registry

if TYPE_CHECKING:
    from engine.learners import TrainingData
    from engine.session import HeadSession
    from engine.trainer import Evaluated, Trainer

SEED = 1337


@dataclass(frozen=True)
class Head:
    """One of the heads; `rate` is None where it is the configuration's."""

    rate: float | None
    seed: int

    @property
    def name(self) -> str:
        """Of its sub-folder."""
        rate = "" if self.rate is None else f"lr{self.rate:g}-".replace("+", "")
        return f"{rate}seed{self.seed}"


def asked_for(args: argparse.Namespace) -> list[Head]:
    """The heads that the command line asks for, rate by rate. Raises ConfigError for what makes no sense."""
    if args.seeds is not None and args.seeds < 1:
        raise ConfigError(f"--seeds {args.seeds}: how many heads of each rate, at least 1")
    first = SEED if args.seed is None else args.seed
    return [Head(rate, seed) for rate in _rates(args) for seed in range(first, first + (args.seeds or 1))]


def _rates(args: argparse.Namespace) -> Sequence[float | None]:
    if args.sweep is None:
        return [None]
    key, equals, text = args.sweep.partition("=")
    if key.strip() != "lr" or not equals:
        raise ConfigError(f"--sweep {args.sweep}: learning rates can be swept, as in --sweep lr=1e-2,1e-3,1e-4")
    if rates.KEY in (args.override or ""):
        raise ConfigError(f"--sweep {args.sweep} and -o {rates.KEY} both say the learning rate: give one of them")
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--sweep {args.sweep}: numbers with commas between them are needed, as in --sweep lr=1e-2,1e-3,1e-4") from None
    if any(not (rate > 0 and math.isfinite(rate)) for rate in found) or len({f"{rate:g}" for rate in found}) < len(found):
        raise ConfigError(f"--sweep {args.sweep}: learning rates are greater than 0, and each is named once")
    return found


def train(args: argparse.Namespace, tasks: Registry) -> int:
    """Train every head, go on with all of them, or say that they are trained."""
    heads = asked_for(args)
    _refuse(args)
    plain = copy(args)
    plain.sweep = plain.seeds = None
    task, folder = named_task(plain, tasks)
    experiment.claim_sweep(folder, bool(args.auto_resume), bool(args.overwrite))
    there = sweep.read(folder) if sweep.is_sweep(folder) and not args.overwrite else sweep.Sweep("rates", task.name, [])
    if there.members and there.members != [head.name for head in heads]:
        raise ConfigError(f"{folder} holds the heads {', '.join(there.members)}: name the same rates and seeds, or give -n for a new run")
    plans = _plans(plain, folder, [head for head in heads if head.name not in there.stopped], tasks)
    first = next(iter(plans.values()))
    if task.dev_split not in first.config.runner.eval_dataloaders:  # type: ignore[attr-defined]
        raise ConfigError(f"--sweep and --seeds choose on {task.dev_split}: name it in config.runner.eval_dataloaders")
    if _is_finished(folder, plans, task):
        print(f"{folder} is finished: {first.state['Step'] if first.state else 0} steps", file=sys.stderr)
        return 0
    content = sweep.Sweep("rates", task.name, [head.name for head in heads], rates=[head.rate for head in heads], stopped=there.stopped)
    _train(folder, content, plans, args)
    combine(folder, task, [task.dev_split])
    print(f"{report(folder)}\ntrained: {folder}\nevaluate it: python run_downstream.py -m evaluate -e {folder}", file=sys.stderr)
    return 0


def _refuse(args: argparse.Namespace) -> None:
    for flag, value, why in (
        ("-e", args.past_exp, "means one run"),
        ("--check", args.check, "means one run"),
        ("-f", args.upstream_trainable, "trains the upstream, which these heads share"),
        ("--precision fp16", args.precision == "fp16", "scales the loss of one head at a time"),
    ):
        if value:
            raise ConfigError(f"{flag} {why}: leave it out, or leave --sweep and --seeds out")


def _plans(args: argparse.Namespace, folder: Path, heads: Sequence[Head], tasks: Registry) -> dict[str, Plan]:
    """The plan of each head by its name: from the newest step that all of them have saved, else from the beginning."""
    if not heads:
        raise CheckpointError(f"{folder}: every head has stopped; give --overwrite with lower learning rates")
    saved = [{path.name for path in experiment.states(folder / head.name)} for head in heads] if args.auto_resume else []
    common = set.intersection(*saved) if saved else set()
    plans = {}
    for head in heads:
        own = copy(args)
        own.expname, own.expdir, own.seed = None, str(folder / head.name), head.seed
        if head.rate is not None:
            own.override = ",,".join(filter(None, [args.override, f"{rates.KEY}={head.rate!r}"]))
        if common:
            newest = max(common, key=lambda name: int(name.split("-")[1].split(".")[0]))
            plans[head.name] = plan_from_checkpoint(own, tasks, folder / head.name / newest)
        else:
            own.auto_resume, own.overwrite = None, True  # what some have saved and others have not is of no use
            plans[head.name] = plan_training(own, tasks)
    return plans


def _is_finished(folder: Path, plans: Mapping[str, Plan], task: type[HeadTask]) -> bool:
    """Whether every head has taken its last step and stands in the results."""
    done = all(plan.state is not None and plan.state["Step"] >= plan.config.runner.total_steps for plan in plans.values())  # type: ignore[attr-defined]
    return done and task.dev_split in results.read(folder).get("splits", {})


def _train(folder: Path, content: sweep.Sweep, plans: Mapping[str, Plan], args: argparse.Namespace) -> None:
    from engine import training
    from engine.session import HeadSession, headline
    from engine.together import Together

    session = HeadSession(next(iter(plans.values())), args.device)
    if session.accelerator.num_processes > 1:
        raise ConfigError("--sweep and --seeds run in one process: leave torchrun or accelerate launch out")
    data = training.training_data(session)
    trainers = {
        name: training.prepared_trainer(session, plan, session.build_probe(plan.arguments.seed), data, quiet=True)
        for name, plan in plans.items()
    }
    experiment.prepare(folder, bool(args.overwrite), resume=True)
    sweep.write(folder, content)
    for name, trainer in trainers.items():
        training.open_folder(trainer, overwrite=plans[name].state is None, resume=plans[name].state is not None)
    experiment.log_to(folder)
    training.log.info("%d heads, each: %s", len(trainers), headline(session))

    def stop(name: str, why: str) -> None:
        training.log.info("%s stops: %s", name, why)
        content.stopped[name] = why
        sweep.write(folder, content)

    def tell(step: int, found: Mapping[str, Sequence[Evaluated]]) -> None:
        training.log.info("step %d  %s%s  %s", step, session.task.dev_split, session.plan.mark, _progress(session, content, found))

    Together(trainers, tell, stop, session.plan.mark).run()
    _record(session, data, {name: trainer for name, trainer in trainers.items() if name not in content.stopped})


def _progress(session: HeadSession, content: sweep.Sweep, found: Mapping[str, Sequence[Evaluated]]) -> str:
    """The main metric on dev of each rate, its mean over the seeds."""
    metric = session.task.metrics[0].name
    values: dict[float | None, list[float]] = {}
    for name, rate in zip(content.members, content.rates, strict=True):
        of_dev = [each.measures[metric] for each in found.get(name, ()) if each.split == session.task.dev_split]
        values.setdefault(rate, []).extend(of_dev)
    figures = [
        f"{'' if rate is None else f'lr {rate:g}: '}{statistics.fmean(of_rate):.4g}" if of_rate else f"lr {rate:g}: stopped"
        for rate, of_rate in values.items()
    ]
    return f"{metric}  {'  '.join(figures)}"


def _record(session: HeadSession, data: TrainingData, trainers: Mapping[str, Trainer]) -> None:
    """Evaluate dev at every head's best checkpoint, in one pass, and write it down."""
    from engine import checkpoint, evaluating

    dev = session.task.dev_split
    states = {}
    for name, trainer in trainers.items():
        path = trainer.folder / session.task.best_checkpoint
        states[name] = path, checkpoint.load(path)
        session.load_weights(states[name][1], path, trainer.learner.module)  # type: ignore[arg-type]
    probes: list[Any] = [trainer.learner.module for trainer in trainers.values()]
    source, batches = session.exact_source(dev), data.watched[dev][1]
    ran = session.evaluator.outcomes(probes, dev, source, batches, f"{dev}{session.plan.mark}", not session.main) if probes else []
    for (name, trainer), of_head in zip(trainers.items(), ran, strict=True):
        outcome = session.evaluator.score(of_head, lambda own=of_head: own.outcomes)  # type: ignore[misc]
        path, state = states[name]
        evaluating.write(session, trainer.folder, outcome, path, state, dev, source)


def evaluate(folder: Path, args: argparse.Namespace, tasks: Registry) -> int:
    """Evaluate the heads of the chosen rate, then write down and print what they give together."""
    from engine import evaluating

    if args.expdir:
        raise ConfigError("-p is for one checkpoint; a sweep's results stand in its own folder")
    found = sweep.read(folder)
    task: type[HeadTask] = tasks.load(found.task)
    if not found.chosen:
        raise CheckpointError(f"{folder} is not trained to the end: go on with -a")
    kept = results.read(folder).get("config", {}).get("store", {}).get("mode", "auto")
    for name in found.chosen:
        head = copy(args)
        head.past_exp, head.expname = str(folder / name), None
        head.store = args.store or (kept if len(found.chosen) > 1 else None)  # encoded once for all of them
        evaluating.evaluate(plan_evaluation(head, tasks), head)
    entries = combine(folder, task, args.evaluate_split or [task.test_split])
    evaluating.show(folder, results.read(folder), entries, bool(args.json))
    return 0


def combine(folder: Path, task: type[HeadTask], splits: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Choose the rate on dev, and write what its heads give on these splits. Returns the entries.

    Raises:
        CheckpointError: results are missing, or every rate has a head that stopped.
    """
    found = sweep.read(folder)
    records = {name: results.read(folder / name) for name in found.members if name not in found.stopped}
    values = {name: _value(record, task.dev_split, folder / name) for name, record in records.items()}
    by_rate: dict[float | None, list[str]] = {}
    for name, rate in zip(found.members, found.rates, strict=True):
        by_rate.setdefault(rate, []).append(name)
    whole = {rate: names for rate, names in by_rate.items() if not any(name in found.stopped for name in names)}
    if not whole:
        raise CheckpointError(f"{folder}: every learning rate has a head that stopped ({next(iter(found.stopped.values()))}); lower them")
    metric, main = next(iter(next(iter(records.values()))["splits"][task.dev_split]["metrics"].items()))
    sign = 1 if main["higher_is_better"] else -1
    rate = max(whole, key=lambda rate: sign * statistics.fmean(values[name] for name in whole[rate]))
    found.chosen[:] = whole[rate]
    sweep.write(folder, found)
    kept = {"metric": metric, "unit": main["unit"], "higher_is_better": main["higher_is_better"], "split": task.dev_split}
    heads = [{"rate": rate, "head": name, "value": values.get(name)} for name, rate in zip(found.members, found.rates, strict=True)]
    write_atomically(folder / "rates.json", json.dumps({**kept, "chosen": rate, "heads": heads}, indent=2) + "\n")
    _draw(folder, {rate: [values[name] for name in names] for rate, names in whole.items() if rate is not None})
    entries = {}
    for split in splits:
        entries[split] = _over_seeds(folder, whole[rate], [records[name] for name in whole[rate]], split)
        results.update(folder, sweep.record([records[name] for name in whole[rate]]), split, entries[split])
    return entries


def _value(record: Mapping[str, Any], split: str, folder: Path) -> float:
    """The main metric of a split."""
    entry = record.get("splits", {}).get(split)
    if not entry:
        raise CheckpointError(f"{folder} has no results of split {split}; go on with -a")
    return float(next(iter(entry["metrics"].values()))["value"])


def _over_seeds(folder: Path, names: Sequence[str], records: Sequence[Mapping[str, Any]], split: str) -> dict[str, Any]:
    """The entry of a split: means over the heads of one rate, with Student's 95 % interval; of one head its own."""
    from scipy import stats

    entries = [record.get("splits", {}).get(split) for record in records]
    if not all(entries):
        raise CheckpointError(f"{folder}: not every chosen head has results of split {split}; evaluate the sweep on it first")
    first = entries[0]
    if len(entries) == 1:
        return {**first, "checkpoint": f"{names[0]}/{first['checkpoint']}"}
    metrics = {}
    for name, metric in first["metrics"].items():
        values = [float(entry["metrics"][name]["value"]) for entry in entries]
        mean = statistics.fmean(values)
        half = float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
        metrics[name] = {**metric, "value": mean, "low": mean - half, "high": mean + half, "values": values}
    cost = {**first["cost"], "seconds": math.fsum(entry["cost"]["seconds"] for entry in entries)}
    return {**first, "metrics": metrics, "checkpoint": f"{names[0]}…{names[-1]}/{first['checkpoint']}", "cost": cost}


def _draw(folder: Path, values: Mapping[float, Sequence[float]]) -> None:
    """The main metric on dev over the learning rates, where there are several."""
    from engine import plots

    if len(values) < 2:
        return
    found = json.loads((folder / "rates.json").read_text())
    record = results.read(folder / found["heads"][0]["head"])
    mark = " (demo)" if record.get("demo") else ""
    label = f"{found['split']} {found['metric']} {found['unit']}".strip()
    ordered = sorted(values)
    plots.metric_over_rates(folder / "rates.png", ordered, [values[rate] for rate in ordered], label, f"{record.get('task', '')}{mark}")


def report(folder: Path) -> str:
    """Each rate with the mean of its heads on dev, and the chosen one, as a table."""
    found, stopped = json.loads((folder / "rates.json").read_text()), sweep.read(folder).stopped
    rows = [["learning rate", f"{found['split']} {found['metric']}", "lowest", "highest", "heads", ""]]
    by_rate: dict[float | None, list[dict[str, Any]]] = {}
    for head in found["heads"]:
        by_rate.setdefault(head["rate"], []).append(head)
    for rate, heads in by_rate.items():
        values = [head["value"] for head in heads if head["value"] is not None]
        figures = [f"{figure(values):.2f}" if values else "–" for figure in (statistics.fmean, min, max)] if values else ["–"] * 3
        why = f"{sum(head['head'] in stopped for head in heads)} stopped" if any(head["head"] in stopped for head in heads) else ""
        rows.append(
            ["as configured" if rate is None else f"{rate:g}", *figures, str(len(heads)), "chosen" if rate == found["chosen"] else why]
        )
    return results.table(rows)
