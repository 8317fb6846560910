"""`-m evaluate`: a trained head on splits; predictions, results.json, and a table on stdout."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from corpus.fingerprint import fingerprint
from engine import checkpoint, experiment, predictions, results
from engine.evaluation import Evaluation
from engine.plan import Plan
from engine.session import HeadSession, check_split, trained_parameters
from engine.sources import Source

Entries = dict[str, dict[str, Any]]
"""Split entries of results.json by split."""


def run(plan: Plan, args: argparse.Namespace) -> int:
    """Evaluate, and print the table."""
    entries = evaluate(plan, args)
    if entries is not None:
        show(plan.folder, results.read(plan.folder), entries, bool(args.json))
    return 0


def evaluate(plan: Plan, args: argparse.Namespace) -> Entries | None:
    """Evaluate a checkpoint, or an experiment, on splits. Returns their entries; None on all but the main process."""
    assert plan.checkpoint is not None and plan.state is not None
    splits = args.evaluate_split or [plan.task.test_split]
    for split in splits:
        check_split(plan.task, split, evaluated=True)
    session = HeadSession(plan, args.device)
    session.check_upstream(plan.state, plan.checkpoint)
    session.load_weights(plan.state, plan.checkpoint)
    results.check_same_run(plan.folder, record(session, plan.state, plan.checkpoint))
    entries: Entries = {}
    for split in splits:
        if plan.is_experiment and session.task.chosen_on_test and split == session.task.test_split:
            entries |= _choose_on_test(session, plan.checkpoint.parent)
            continue
        source = session.source(split, uses=1) if args.store else session.live(split)
        entries[split] = evaluate_split(session, split, plan.checkpoint, plan.state, source=source)
    return entries if session.main else None


def show(folder: Path, run: dict[str, Any], entries: Entries, as_json: bool) -> None:
    """Print entries on stdout, and where they were written on stderr.

    Args:
        run: the record in the folder.
    """
    if as_json:
        print(json.dumps({**{key: run[key] for key in ("task", "upstream", "demo")}, "splits": entries}))
    else:
        rows = [row for split, entry in entries.items() for row in results.score_rows(split, entry)]
        print(results.table([results.SCORE_HEADER, *rows]))
    print(f"written to {folder / 'results.json'}", file=sys.stderr)


def _choose_on_test(session: HeadSession, folder: Path) -> Entries:
    """Every saved checkpoint on the test split, the best one kept as `test`, as the benchmark's script does; beside it, as
    `test-dev-selected`, the checkpoint that was the best one on the development split."""
    split, main = session.task.test_split, session.task.metrics[0]
    source = session.source(split, uses=len(experiment.states(folder)) + 1)
    found: list[tuple[float, Path]] = []
    for path in experiment.states(folder):
        session.load_weights(checkpoint.load(path), path)
        value = session.evaluate(split, source).scores[main.name].value
        found.append((value if main.higher_is_better else -value, path))
    entries: Entries = {}
    if found:
        _, best = max(found, key=lambda pair: pair[0])
        entries[split] = _evaluate_at(session, split, best, source, selection="test")
    elif session.main:
        print(f"{split} is left out: {folder} holds no states-*.ckpt to choose among", file=sys.stderr)
    on_dev = folder / session.task.best_checkpoint
    if on_dev.exists():
        name = f"{split}-dev-selected"
        entries[name] = _evaluate_at(session, split, on_dev, source, name=name)
    elif session.main:
        why = session.task.unavailable(session.task.dev_split) or "nothing was evaluated on dev while it trained"
        print(f"{split}-dev-selected is left out: {why}", file=sys.stderr)
    return entries


def _evaluate_at(session: HeadSession, split: str, path: Path, source: Source, **how: str) -> dict[str, Any]:
    state = checkpoint.load(path)
    session.load_weights(state, path)
    return evaluate_split(session, split, path, state, source=source, **how)


def evaluate_split(
    session: HeadSession, split: str, path: Path, state: dict[str, Any],
    *, source: Source | None = None, name: str | None = None, selection: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Evaluate one split with the weights that are loaded, those of the checkpoint `path`; see `write`."""
    source = source or session.live(split)
    outcome = session.evaluate(split, source)
    return write(session, session.plan.folder, outcome, path, state, split, source, name=name, selection=selection)


def write(
    session: HeadSession, folder: Path, outcome: Evaluation, path: Path, state: dict[str, Any], split: str, source: Source,
    *, name: str | None = None, selection: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write the predictions and the entry of a split into a run's folder. Returns the entry.

    Args:
        path: the checkpoint that was evaluated, and `state` its content.
        name: of the entry, where it is not the split's.
        selection: `dev`, `test` or `last`; by default as the checkpoint's name says.
    """
    fingerprints = {"upstream": session.current_fingerprint(), "corpus": fingerprint(session.cuts(split))}
    entry = results.entry(
        session.task.metrics, outcome.scores, utterances=len(outcome.predictions), checkpoint=path.name, step=state["Step"],
        selection=selection or ("dev" if path.name == session.task.best_checkpoint else "last"),
        demo=session.plan.arguments.demo, fingerprints=fingerprints, store=source.origin.record(),
        cost=results.Cost(outcome.seconds, results.peak_memory_bytes(), 0),
    )  # fmt: skip
    if session.main:
        predictions.write(folder, name or split, outcome.predictions)
        results.update(folder, record(session, state, path), name or split, entry)
    return entry


def record(session: HeadSession, state: dict[str, Any], path: Path) -> dict[str, Any]:
    """The keys in results.json of the run that a checkpoint is of; the cost is that of the whole run, as far as it is known."""
    arguments, newest = state["Args"], experiment.newest(path.parent)
    run = max([state["Run"], checkpoint.load(newest)["Run"] if newest else {}], key=lambda run: run.get("step", 0))
    config = session.config.model_dump(mode="json") | {"optimizer": state["Config"]["optimizer"]}
    return {
        "task": session.task.name,
        "upstream": arguments["upstream"],
        "protocol": session.config.protocol,
        "preset": arguments["preset"],
        "demo": arguments["demo"],
        "config": {**config, "args": arguments},
        "seed": arguments["seed"],
        "versions": results.versions(),
        "fingerprints": state["Fingerprints"],
        "store": state.get("Store", {}).get(session.task.train_split, {}),
        "cost": asdict(results.Cost(run["seconds"], run["peak_memory_bytes"], trained_parameters(session))),
    }
