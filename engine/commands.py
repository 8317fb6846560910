"""The commands of `run_downstream.py`: train, evaluate, inference; `--check`, `--list` and `--describe` have files of their own."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import experiment, listing, results, yaml12
from engine.errors import USER_ERRORS, CheckpointError, ConfigError
from engine.plan import Plan, plan_evaluation, plan_training
from upstream.registry import Registry

if TYPE_CHECKING:
    from engine.evaluation import Evaluation
    from engine.session import Session
    from engine.sources import Source

log = logging.getLogger("weir")


def run(args: argparse.Namespace, tasks: Registry) -> int:
    """Do what the command line asks for. Returns the exit status."""
    if args.list:
        print(listing.names(tasks))
        return 0
    if args.describe:
        print(listing.card(args.describe, tasks))
        return 0
    if args.mode is None:
        raise ConfigError("-m is not given: train, evaluate or inference (-h shows examples)")
    if args.mode == "train":
        plan = plan_training(args, tasks)
        if args.check:
            from engine.checking import report
            from engine.session import Session

            session = Session(plan, args.device)
            found = report(session)
            if session.main:
                print(found)
            return 0
        return train(plan, args)
    return (evaluate if args.mode == "evaluate" else inference)(plan_evaluation(args, tasks), args)


def train(plan: Plan, args: argparse.Namespace) -> int:
    """Train a head (and, with -f, the upstream), then record the development split at the best checkpoint."""
    done = plan.state is not None and plan.state["Step"] >= plan.config.runner.total_steps
    if done and _is_recorded(plan):
        steps = plan.state["Step"] if plan.state else 0
        print(f"{plan.folder} is finished: {steps} of {plan.config.runner.total_steps} steps", file=sys.stderr)
        return 0
    from engine.session import Session

    session = Session(plan, args.device)
    if not done:
        _train(session, args)
    if session.task.dev_split in session.config.runner.eval_dataloaders:
        _record_best(session)
    session.accelerator.end_training()
    if session.main:
        print(f"trained{plan.mark}: {plan.folder}\nevaluate it: python run_downstream.py -m evaluate -e {plan.folder}", file=sys.stderr)
    return 0


def _is_recorded(plan: Plan) -> bool:
    """Whether the development split of a finished run stands in its results, from its best checkpoint."""
    from engine import checkpoint

    if plan.task.dev_split not in plan.config.runner.eval_dataloaders:
        return True
    entry = results.read(plan.folder).get("splits", {}).get(plan.task.dev_split, {})
    best = plan.folder / plan.task.best_checkpoint
    return best.exists() and entry.get("step") == checkpoint.load(best)["Step"]


def _train(session: Session, args: argparse.Namespace) -> None:
    """Run the training loop to its end, from the beginning or from where the plan's checkpoint left off."""
    from engine import checkpoint
    from engine.session import headline

    plan, initial = session.plan, session.plan.arguments.init_ckpt
    if initial and plan.state is None:
        session.load_weights(checkpoint.load(Path(initial)), Path(initial))
    trainer = _build_trainer(session)
    if plan.state is not None and plan.checkpoint is not None:
        session.check_upstream(plan.state, plan.checkpoint)
        _check_corpus(plan, trainer.identity["Fingerprints"]["corpus"])
        trainer.restore(plan.state)
    if session.main:
        _open_folder(session, args)
    session.accelerator.wait_for_everyone()
    log.info("%s", headline(session))
    trainer.run()


def _check_corpus(plan: Plan, now: str) -> None:
    """Refuse to go on with other training data: the place in the order of batches would mean something else."""
    then = (plan.state or {}).get("Fingerprints", {}).get("corpus", "unknown")
    if then != now:
        raise CheckpointError(
            f"{plan.checkpoint} was trained on other data ({then[:12]}) than there is now ({now[:12]}); give -n for a new run"
        )


def _record_best(session: Session) -> None:
    """Evaluate the development split at the best checkpoint and write it down."""
    from engine import checkpoint

    best = session.plan.folder / session.task.best_checkpoint
    state = checkpoint.load(best)
    session.load_weights(state, best)
    _evaluate_split(session, session.live(), session.task.dev_split, best, state)


def _build_trainer(session: Session) -> Any:
    from corpus.fingerprint import fingerprint
    from engine.learners import HeadLearner
    from engine.optim import build_optimizer, build_scheduler
    from engine.trainer import Trainer

    plan, config, task = session.plan, session.config, session.task
    cuts = session.cuts(task.train_split)
    watched_cuts = {split: session.cuts(split) for split in config.runner.eval_dataloaders}
    source = session.source(cuts, task.train_split)
    watched = {split: (session.source(found, split), session.evaluation_batches(found)) for split, found in watched_cuts.items()}
    batching = config.corpus.batching
    learner = HeadLearner(session.evaluator, cuts, batching, plan.arguments.seed, source, watched)
    optimizer = build_optimizer(config.optimizer, session.probe.parts.values())
    scheduler = build_scheduler(config.scheduler, optimizer, config.runner.total_steps)
    identity = {
        "Args": asdict(plan.arguments),
        "Config": config.model_dump(mode="json"),
        "Fingerprints": {"upstream": session.upstream_fingerprint, "corpus": fingerprint(cuts)},
    }
    return Trainer(
        session.accelerator, plan.folder, config.runner, learner, optimizer, scheduler,
        seed=plan.arguments.seed, identity=identity, best_name=task.best_checkpoint, mark=plan.mark,
    )  # fmt: skip


def _open_folder(session: Session, args: argparse.Namespace) -> None:
    from corpus.files import write_atomically

    plan = session.plan
    experiment.prepare(plan.folder, bool(args.overwrite), resume=plan.state is not None)
    write_atomically(plan.folder / "config.yaml", yaml12.write(session.config.model_dump(mode="json")))
    experiment.log_to(plan.folder)


def evaluate(plan: Plan, args: argparse.Namespace) -> int:
    """Evaluate a checkpoint on splits: predictions, results.json, and a table on stdout."""
    from engine.session import Session, check_split

    assert plan.checkpoint is not None and plan.state is not None
    for split in args.evaluate_split or []:
        check_split(plan.task, split)
    session = Session(plan, args.device)
    session.check_upstream(plan.state, plan.checkpoint)
    session.load_weights(plan.state, plan.checkpoint)
    results.check_same_run(plan.folder, _record(session, plan.state))
    entries = {}
    for split in args.evaluate_split or [plan.task.test_split]:
        source = session.source(session.cuts(split), split) if args.store else session.live()
        entries[split] = _evaluate_split(session, source, split, plan.checkpoint, plan.state)
    if session.main:
        if args.json:
            print(json.dumps({"task": plan.task.name, "upstream": plan.arguments.upstream, "demo": plan.arguments.demo, "splits": entries}))
        else:
            rows = [row for split, entry in entries.items() for row in results.score_rows(split, entry)]
            print(results.table([results.SCORE_HEADER, *rows]))
        print(f"written to {plan.folder / 'results.json'}", file=sys.stderr)
    return 0


def _evaluate_split(session: Session, source: Source, split: str, path: Path, state: dict[str, Any]) -> dict[str, Any]:
    """Evaluate one split with the weights that are loaded, those of the checkpoint `path`; write its predictions and its entry."""
    from corpus.fingerprint import fingerprint
    from engine.evaluation import write_predictions

    cuts = session.cuts(split)
    outcome = session.evaluator.evaluate(source, session.evaluation_batches(cuts), f"{split}{session.plan.mark}", not session.main)
    entry = _entry(session, outcome, path, state, fingerprint(cuts))
    if session.main:
        folder = session.plan.folder
        write_predictions(folder / "predictions" / f"{split}.jsonl", outcome.predictions)
        results.update(folder, _record(session, state), split, entry)
    return entry


def _entry(session: Session, outcome: Evaluation, path: Path, state: dict[str, Any], corpus: str) -> dict[str, Any]:
    """A split's entry in results.json."""
    return {
        "metrics": results.metric_entries(session.task.metrics, outcome.scores),
        "utterances": len(outcome.predictions),
        "checkpoint": path.name,
        "step": state["Step"],
        "selection": "dev" if path.name == session.task.best_checkpoint else "last",
        "demo": session.plan.arguments.demo,
        "date": results.today(),
        "fingerprints": {"upstream": session.current_fingerprint(), "corpus": corpus},
        "versions": results.versions(),
        "cost": asdict(results.Cost(outcome.seconds, results.peak_memory_bytes(), 0)),
    }


def _record(session: Session, state: dict[str, Any]) -> dict[str, Any]:
    """The run's own keys in results.json; the cost is that of the whole run, as far as it is known."""
    from engine.session import trained_parameters

    arguments = state["Args"]
    run = max([state["Run"], session.last_run()], key=lambda run: run.get("step", 0))
    return {
        "task": session.task.name,
        "upstream": arguments["upstream"],
        "protocol": state["Config"]["protocol"],
        "preset": arguments["preset"],
        "demo": arguments["demo"],
        "config": {**state["Config"], "args": arguments},
        "seed": arguments["seed"],
        "versions": results.versions(),
        "fingerprints": state["Fingerprints"],
        "cost": asdict(results.Cost(run["seconds"], run["peak_memory_bytes"], trained_parameters(session))),
    }


def inference(plan: Plan, args: argparse.Namespace) -> int:
    """One JSON object a file on stdout, in the order given; files that cannot be used are named and the others still done."""
    from corpus.audio import audio_files
    from engine.session import Session

    assert plan.checkpoint is not None and plan.state is not None
    if not args.evaluate_split:
        raise ConfigError("-m inference needs -t: audio files or folders")
    session = Session(plan, args.device, audio_only=True)
    session.check_upstream(plan.state, plan.checkpoint)
    session.load_weights(plan.state, plan.checkpoint)
    if not session.main:  # one process is enough
        return 0
    failed = False
    for given in args.evaluate_split:
        try:
            files = audio_files([given])
        except USER_ERRORS as error:
            print(f"error: {error}", file=sys.stderr)
            files, failed = [], True
        done = [_infer(session, path) for path in files]
        failed = failed or not all(done)
    return 2 if failed else 0


def _infer(session: Session, path: Path) -> bool:
    """Print one file's prediction; False, after one message, for a file that cannot be used."""
    try:
        prediction = session.evaluator.predict(_read_file(path, session.encoder.minimum_samples))[0]
    except USER_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return False
    row = {"utt_id": path.stem, "path": str(path), "prediction": prediction.prediction, "scores": prediction.scores}
    print(json.dumps(row, ensure_ascii=False), flush=True)
    return True


def _read_file(path: Path, least: int) -> Any:
    """One audio file as a micro-batch of its own."""
    import torch

    from corpus.audio import read_audio
    from corpus.batch import Batch
    from engine.sources import Loaded, check_samples

    samples = torch.from_numpy(read_audio(path))
    check_samples(str(path), len(samples), least)
    lengths = torch.tensor([len(samples)])
    return Loaded([path.stem], [], lengths, audio=Batch(samples[None], lengths, [path.stem]))
