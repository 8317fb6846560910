"""What each `-m` does: the plan is made here, and the work left to the file that owns it."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from engine import sweep
from engine.extract.plan import plan_extraction, refuse_own_flags
from engine.plan import Plan, experiment_folder, plan_evaluation, plan_search, plan_training, search_task
from upstream.registry import Registry

# What is heavy (PyTorch, Lhotse) is imported once the command is known to make sense.


def run(args: argparse.Namespace, tasks: Registry) -> int:
    """Train, evaluate, use or extract. Returns the exit status."""
    if args.mode == "extract":
        return _extract(args)
    refuse_own_flags(args)
    if args.mode == "predict":
        args.mode = "inference"
    if search_task(args, tasks):
        search = plan_search(args, tasks)
        from engine import searching

        return searching.evaluate(search, args)
    if args.mode == "train":
        return _train(args, tasks)
    if args.mode == "evaluate":
        return _evaluate(args, tasks)
    plan = plan_evaluation(args, tasks)
    from engine import inference

    return inference.run(plan, args)


def _train(args: argparse.Namespace, tasks: Registry) -> int:
    kind = sweep.asked_for(args)
    if kind == "rates":
        from engine import grid

        status = grid.train(args, tasks)
    elif kind is not None:
        status = sweep.train(kind, args, tasks)
    else:
        plan = plan_training(args, tasks)
        if args.check:
            return _check(plan, args)
        from engine import training

        status = training.run(plan, args)
    from engine import device

    device.finish()
    return status


def _extract(args: argparse.Namespace) -> int:
    plan = plan_extraction(args)
    from engine import device
    from engine.extract.run import run

    summary = run(plan, args.device)
    if summary is not None:
        print(json.dumps(asdict(summary)))
    device.finish()
    return 2 if summary is not None and summary.failed else 0


def _check(plan: Plan, args: argparse.Namespace) -> int:
    from engine.checking import report
    from engine.session import HeadSession

    session = HeadSession(plan, args.device)
    found = report(session)
    if session.main:
        print(found)
    return 0


def _evaluate(args: argparse.Namespace, tasks: Registry) -> int:
    folder = experiment_folder(args, tasks)
    if folder is not None and sweep.is_sweep(folder):
        if sweep.read(folder).kind == "rates":
            from engine import grid

            return grid.evaluate(folder, args, tasks)
        if args.downstream_variant in (None, "all"):
            return sweep.evaluate(folder, args, tasks)
        args.past_exp, args.expname = str(folder / args.downstream_variant), None  # one of the folds
    plan = plan_evaluation(args, tasks)
    from engine import evaluating

    return evaluating.run(plan, args)
