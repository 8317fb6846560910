"""`--sweep lr=… --seeds N`: a head for every learning rate and seed, all trained at once; the rate that is the best on dev is reported.

Each head is a run of its own in a sub-folder; `choice.py` says what they give together.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import choice, experiment, rates, results, sweep
from engine.errors import CheckpointError, ConfigError
from engine.plan import Plan, named_task, plan_evaluation, plan_from_checkpoint, plan_training
from engine.task import HeadTask
from upstream.registry import Registry

if TYPE_CHECKING:
    from engine.evaluation import Ran
    from engine.session import HeadSession
    from engine.sources import Source
    from engine.trainer import Evaluated

log = logging.getLogger("weir")

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
    if re.search(r"config\.optimizer(\.lr)?\s*=", args.override or ""):
        raise ConfigError(f"--sweep {args.sweep} and -o config.optimizer both say the learning rate: give one of them")
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
    sweep.check_same(folder, "rates", [head.name for head in heads], bool(args.overwrite))
    goes_on = sweep.is_sweep(folder) and not args.overwrite
    stopped = sweep.read(folder).stopped if goes_on else {}
    plans = _plans(plain, folder, [head for head in heads if head.name not in stopped], tasks)
    first = next(iter(plans.values()))
    if task.dev_split not in first.config.runner.eval_dataloaders:  # type: ignore[attr-defined]
        raise ConfigError(f"--sweep and --seeds choose on {task.dev_split}: name it in config.runner.eval_dataloaders")
    if _is_finished(folder, plans, task):
        print(f"{folder} is finished: {first.state['Step'] if first.state else 0} steps", file=sys.stderr)
        return 0
    configured = first.config.optimizer.lr  # type: ignore[attr-defined]
    of_heads = [configured if head.rate is None else head.rate for head in heads]
    _train(folder, sweep.Sweep("rates", task.name, [head.name for head in heads], of_heads, stopped), plans, args)
    choice.choose(folder, task)
    choice.average(folder, [task.dev_split])
    log.info("%s", choice.table(folder, first.mark))
    print(f"trained{first.mark}: {folder}\nevaluate it: python run_downstream.py -m evaluate -e {folder}", file=sys.stderr)
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
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("--sweep and --seeds run in one process: leave torchrun or accelerate launch out")


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
    from engine import checkpoint, training
    from engine.session import HeadSession, headline
    from engine.together import Together

    session = HeadSession(next(iter(plans.values())), args.device)
    dev = session.task.dev_split
    if why := session.task.unavailable(dev):
        raise ConfigError(f"--sweep and --seeds choose on {dev}, which this data cannot give: {why}")
    data = training.training_data(session, seeds=len({plan.arguments.seed for plan in plans.values()}))
    trainers = {
        name: training.prepared_trainer(session, plan, session.build_probe(plan.arguments.seed), data, quiet=True)
        for name, plan in plans.items()
    }
    experiment.prepare(folder, bool(args.overwrite), resume=True)
    sweep.write(folder, content)
    for name, trainer in trainers.items():
        training.open_folder(trainer, overwrite=plans[name].state is None, resume=plans[name].state is not None)
    experiment.log_to(folder)
    log.info("%d head%s, each: %s", len(trainers), "s" * (len(trainers) > 1), headline(session, folder))
    if args.auto_resume:
        step = next(iter(trainers.values())).progress.step
        log.info("%s", f"it goes on after step {step}" if step else "no step was saved by all heads: it begins anew")

    def stop(name: str, why: str) -> None:
        log.info("%s stops: %s", name, why)
        content.stopped[name] = why
        sweep.write(folder, content)

    def tell(step: int, found: Mapping[str, Sequence[Evaluated]]) -> None:
        log.info("step %d  %s%s  %s", step, dev, session.plan.mark, _progress(session, content, found))

    Together(trainers, tell, stop, session.plan.mark).run()
    plans = {name: plan for name, plan in plans.items() if name not in content.stopped}
    best = {name: plan.folder / session.task.best_checkpoint for name, plan in plans.items()}
    heads = Heads(session, {name: (path, checkpoint.load(path)) for name, path in best.items()})
    heads.evaluate(dev, session.exact_source(dev))


def _progress(session: HeadSession, content: sweep.Sweep, found: Mapping[str, Sequence[Evaluated]]) -> str:
    """The main metric on dev of each rate, its mean over the seeds."""
    metric = session.task.metrics[0].name
    values: dict[float, list[float]] = {}
    for name, rate in zip(content.members, content.rates, strict=True):
        of_dev = [each.measures[metric] for each in found.get(name, ()) if each.split == session.task.dev_split]
        values.setdefault(rate, []).extend(of_dev)
    figures = [f"lr {rate:g}: {statistics.fmean(of_rate):.4g}" if of_rate else f"lr {rate:g}: stopped" for rate, of_rate in values.items()]
    return f"{metric}  {'  '.join(figures)}"


class Heads:
    """Trained heads on one upstream, evaluated together.

    Args:
        checkpoints: path and content by name; each stands in its head's folder.
    """

    def __init__(self, session: HeadSession, checkpoints: Mapping[str, tuple[Path, dict[str, Any]]]) -> None:
        self.session, self.checkpoints = session, checkpoints
        self.probes = []
        for path, state in checkpoints.values():
            probe = session.build_probe(state["Args"]["seed"])
            session.load_weights(state, path, probe)
            self.probes.append(probe)

    def evaluate(self, split: str, source: Source) -> None:
        """Read and encode a split once for all heads, and write each one's predictions and entry into its folder."""
        from engine import evaluating

        ran = self._run(split, source)
        on_dev = cache(lambda: self._run(self.session.task.dev_split, self.session.live(self.session.task.dev_split)))
        for place, (path, state) in enumerate(self.checkpoints.values()):
            dev = (lambda: ran) if split == self.session.task.dev_split else on_dev
            outcome = self.session.evaluator.score(ran[place], lambda place=place, dev=dev: dev()[place].outcomes)  # type: ignore[misc]
            evaluating.write(self.session, path.parent, outcome, path, state, split, source)

    def _run(self, split: str, source: Source) -> list[Ran]:
        if not self.probes:
            return []
        session = self.session
        batches = session.evaluation_batches(session.cuts(split))
        return session.evaluator.outcomes(self.probes, split, source, batches, f"{split}{session.plan.mark}", not session.main)


def evaluate(folder: Path, args: argparse.Namespace, tasks: Registry) -> int:
    """Evaluate the heads of the chosen rate, then write down and print what they give together."""
    from engine import evaluating
    from engine.session import HeadSession, check_split

    if args.expdir:
        raise ConfigError("-p is for one checkpoint; a sweep's results stand in its own folder")
    found = sweep.read(folder)
    if not found.chosen:
        lost = len(found.stopped) == len(found.members)
        remedy = "every head has stopped; train it again with --overwrite and lower rates" if lost else "go on with -a"
        raise CheckpointError(f"{folder} has no head to evaluate: {remedy}")
    plans: dict[str, tuple[Plan, argparse.Namespace]] = {}
    for name in found.chosen:
        own = copy(args)
        own.past_exp, own.expname = str(folder / name), None
        plans[name] = plan_evaluation(own, tasks), own
    first, _ = plans[found.chosen[0]]
    splits = list(args.evaluate_split or [first.task.test_split])
    for split in splits:
        check_split(first.task, split, evaluated=True)
    session = HeadSession(first, args.device)
    if session.task.chosen_on_test:  # every checkpoint of every head
        each = [evaluating.evaluate(plan, own) or {} for plan, own in plans.values()]
        splits = list(dict.fromkeys(name for of_head in each for name in of_head))
    else:
        checkpoints = {}
        for name, (plan, _) in plans.items():
            assert plan.checkpoint is not None and plan.state is not None
            session.check_upstream(plan.state, plan.checkpoint)
            results.check_same_run(plan.folder, evaluating.record(session, plan.state, plan.checkpoint))
            checkpoints[name] = plan.checkpoint, plan.state
        heads = Heads(session, checkpoints)
        for split in splits:
            heads.evaluate(split, session.source(split, uses=1) if args.store else session.live(split))
    entries = choice.average(folder, splits)
    evaluating.show(folder, results.read(folder), entries, bool(args.json))
    if len(found.chosen) > 1:
        print(f"means of {len(found.chosen)} heads, their intervals by Student's t over the seeds", file=sys.stderr)
    return 0
