"""`-m train`: a head, and with -f the upstream; then the development split at the best checkpoint."""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from corpus.files import write_atomically
from corpus.fingerprint import fingerprint
from engine import checkpoint, experiment, plots, results, yaml12
from engine.config import DownstreamConfig
from engine.errors import CheckpointError
from engine.evaluating import evaluate_split
from engine.learners import HeadLearner, TrainingData, storable
from engine.optim import build_optimizer, build_scheduler
from engine.plan import Plan
from engine.probe import Probe
from engine.session import HeadSession, check_split, headline
from engine.task import HeadTask
from engine.trainer import Trainer

log = logging.getLogger("weir")


def run(plan: Plan, args: argparse.Namespace) -> int:
    """Train, then record the development split at the best checkpoint."""
    done = plan.state is not None and plan.state["Step"] >= plan.config.runner.total_steps  # type: ignore[attr-defined]
    if done and _is_recorded(plan):
        print(f"{plan.folder} is finished: {plan.state['Step'] if plan.state else 0} steps", file=sys.stderr)
        return 0
    session = HeadSession(plan, args.device)
    if not done:
        _train(session, args)
    elif session.main and plan.state is not None and plan.checkpoint == experiment.newest(plan.folder):
        experiment.prune(plan.folder, session.config.runner.max_keep, plan.state["Step"])  # a kill came before it
    if session.task.dev_split in _watched(session):
        _record_best(session)
    if session.main:
        print(f"trained{plan.mark}: {plan.folder}\nevaluate it: python run_downstream.py -m evaluate -e {plan.folder}", file=sys.stderr)
    return 0


def _is_recorded(plan: Plan) -> bool:
    """Whether the development split of a finished run stands in its results, from its best checkpoint."""
    task: type[HeadTask] = plan.task  # type: ignore[assignment]
    best = plan.folder / task.best_checkpoint
    if not best.exists():  # nothing was evaluated while it trained
        return True
    entry = results.read(plan.folder).get("splits", {}).get(task.dev_split, {})
    return entry.get("step") == checkpoint.load(best)["Step"]


def _watched(session: HeadSession) -> list[str]:
    """The splits that are evaluated while training, without those that this data cannot give."""
    splits = []
    for split in session.config.runner.eval_dataloaders:
        check_split(session.plan.task, split, evaluated=True)
        if why := session.task.unavailable(split):
            log.info("split %s is left out: %s", split, why)
        else:
            splits.append(split)
    return splits


def _train(session: HeadSession, args: argparse.Namespace) -> None:
    """Run the training loop to its end, from the beginning or from where the plan's checkpoint left off."""
    trainer = prepared_trainer(session, session.plan, session.probe, training_data(session))
    if session.main:
        open_folder(trainer, bool(args.overwrite), resume=session.plan.state is not None)
        experiment.log_to(trainer.folder)
    session.accelerator.wait_for_everyone()
    log.info("%s", headline(session))
    if trainer.progress.step:
        log.info("it goes on after step %d", trainer.progress.step)
    trainer.run()


def prepared_trainer(session: HeadSession, plan: Plan, probe: Probe, data: TrainingData, quiet: bool = False) -> Trainer:
    """The trainer of one head, where its plan says that it stands: at the beginning, or at the checkpoint."""
    initial = plan.arguments.init_ckpt
    if initial and plan.state is None:
        session.load_weights(checkpoint.load(Path(initial)), Path(initial), probe)
    trainer = build_trainer(session, plan, probe, data, quiet)
    if plan.state is not None and plan.checkpoint is not None:
        session.check_upstream(plan.state, plan.checkpoint)
        _check_corpus(plan, trainer.identity["Fingerprints"]["corpus"])
        trainer.restore(plan.state)
    return trainer


def _check_corpus(plan: Plan, now: str) -> None:
    """Refuse to go on with other training data: the place in the order of batches would mean something else."""
    then = (plan.state or {}).get("Fingerprints", {}).get("corpus", "unknown")
    if then != now:
        raise CheckpointError(
            f"{plan.checkpoint} was trained on other data ({then[:12]}) than there is now ({now[:12]}); give -n for a new run"
        )


def training_data(session: HeadSession, seeds: int = 1) -> TrainingData:
    """The training split and those that are watched, each stored where it pays.

    Args:
        seeds: how many heads read the training split, each in an order of its own.
    """
    config, task, crops = session.config, session.task, session.config.store.crops
    cuts = session.cuts(task.train_split)
    source = session.source(task.train_split, storable(cuts, task.crop_seconds, crops), readers=seeds)
    watched = {split: (session.source(split), session.evaluation_batches(session.cuts(split))) for split in _watched(session)}
    return TrainingData(cuts, config.corpus.batching, source, watched, crops if source.origin.reduction != "live" else 0)


def build_trainer(session: HeadSession, plan: Plan, probe: Probe, data: TrainingData, quiet: bool = False) -> Trainer:
    """The trainer of one head.

    Args:
        plan: the session's, or one that differs from it in seed, learning rate and folder.
        quiet: whether it shall not speak.
    """
    assert isinstance(plan.config, DownstreamConfig)
    config, task = session.config.model_copy(update={"optimizer": plan.config.optimizer}), session.task
    learner = HeadLearner(probe, session.evaluator, data, plan.arguments.seed)
    optimizer = build_optimizer(config.optimizer, probe.parts.values())
    scheduler = build_scheduler(config.scheduler, optimizer, config.runner.total_steps)
    identity: dict[str, Any] = {
        "Args": asdict(plan.arguments),
        "Config": config.model_dump(mode="json"),
        "Classes": dict(task.setting.classes),
        "Fingerprints": {"upstream": session.upstream_fingerprint, "corpus": fingerprint(data.cuts)},
        "Store": {split: origin.record() for split, origin in session.origins.items()},
    }
    return Trainer(
        session.accelerator, plan.folder, config.runner, learner, optimizer, scheduler,
        seed=plan.arguments.seed, identity=identity, best_name=task.best_checkpoint, mark=plan.mark, quiet=quiet,
    )  # fmt: skip


def open_folder(trainer: Trainer, overwrite: bool, resume: bool) -> None:
    """Make a run's folder and write down its configuration."""
    experiment.prepare(trainer.folder, overwrite, resume)
    write_atomically(trainer.folder / "config.yaml", yaml12.write(trainer.identity["Config"]))


def _record_best(session: HeadSession) -> None:
    """Evaluate the development split at the best checkpoint and write it down, with a picture of the layers it weighs."""
    best = session.plan.folder / session.task.best_checkpoint
    state = checkpoint.load(best)
    session.load_weights(state, best)
    dev = session.task.dev_split
    evaluate_split(session, dev, best, state, source=session.exact_source(dev))
    weights = session.probe.featurizer.layer_weights()
    if session.main and weights is not None:
        plots.layer_weights(session.plan.folder / "layer_weights.png", weights, f"{session.task.name}{session.plan.mark}")
