"""The pre-training command: an objective, a corpus, the training loop, and the upstream that comes out."""

from __future__ import annotations

import argparse
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine import experiment
from engine.config import CONFIGS, PretrainConfig, pretrain_schema, resolve
from engine.data import demo_folder, named_folder
from engine.errors import CheckpointError, ConfigError
from engine.task import Objective

log = logging.getLogger("weir")


@dataclass(frozen=True)
class Arguments:
    """What a checkpoint keeps of the command line."""

    upstream: str
    data: str | None
    demo: bool
    seed: int
    precision: str


def pretrain(objective_class: type[Objective], args: argparse.Namespace) -> int:
    """Run or continue pre-training; ends with the upstream saved in native format in the run's folder."""
    path = args.config or CONFIGS / "pretrain" / f"{objective_class.name}-mini.yaml"
    config = resolve(pretrain_schema(objective_class), path, args.override)
    folder = args.expdir or Path("result/pretrain") / (args.expname or path.stem)
    if args.auto_resume and args.overwrite:
        raise ConfigError("-a goes on with a run and --overwrite replaces it: give one of them")
    experiment.claim(folder, args.auto_resume, args.overwrite)
    folder_given = named_folder(args.data, args.demo)

    from engine.device import accelerator as build_accelerator

    accelerator = build_accelerator(args.device, args.precision, unused_parameters=True)
    experiment.start_logging(accelerator.is_main_process)
    demo = folder_given is None
    with accelerator.main_process_first():
        root = folder_given or demo_folder(objective_class.demo_corpus)
    config = config.model_copy(update={"corpus": config.corpus.model_copy(update={"root": root, "demo": demo})})
    kept = Arguments(objective_class.name, None if demo else str(root), demo, args.seed, args.precision)
    return _train(objective_class(config.corpus, config.model), config, kept, folder, args, accelerator)


def _train(objective: Objective, config: PretrainConfig, kept: Arguments, folder: Path, args: argparse.Namespace, accelerator: Any) -> int:
    from corpus.files import write_atomically
    from engine import checkpoint, yaml12
    from engine.learners import ObjectiveLearner
    from engine.optim import build_optimizer, build_scheduler
    from engine.randomness import seed_all
    from engine.trainer import Trainer

    with accelerator.main_process_first():
        cuts = objective.cuts()
    seed_all(args.seed, "initialisation")
    module = objective.build().to(accelerator.device)
    optimizer = build_optimizer(config.optimizer, [module])
    scheduler = build_scheduler(config.scheduler, optimizer, config.runner.total_steps)
    learner = ObjectiveLearner(module, cuts, config.corpus.batching, args.seed, accelerator)
    plain = config.model_dump(mode="json")
    identity = {"Args": asdict(kept), "Config": plain}
    mark = " (demo)" if kept.demo else ""
    trainer = Trainer(accelerator, folder, config.runner, learner, optimizer, scheduler, seed=args.seed, identity=identity, mark=mark)
    newest = experiment.newest(folder) if args.auto_resume else None
    if newest is not None:
        state = checkpoint.load(newest)
        _same_run(state, identity, newest)
        trainer.restore(state)
    hours = sum(cut.duration for cut in cuts) / 3600
    parameters = sum(p.numel() for p in module.parameters())
    if accelerator.is_main_process:
        experiment.prepare(folder, args.overwrite, resume=newest is not None)
        write_atomically(folder / "config.yaml", yaml12.write(plain))
        experiment.log_to(folder)
    accelerator.wait_for_everyone()
    log.info("%s: %s parameters, %.1f h of audio%s -> %s", objective.name, f"{parameters:,}", hours, mark, folder)
    trainer.run()
    if accelerator.is_main_process:
        notes = {
            "objective": objective.name,
            "steps": trainer.progress.step,
            "seed": args.seed,
            "demo": kept.demo,
            "hours": round(hours, 2),
        }
        objective.save(module, folder, notes)
        log.info("done: use it with  python run_downstream.py -m train -u %s -k %s -d asr", objective.name, os.path.relpath(folder))
    accelerator.end_training()
    return 0


def _same_run(state: dict[str, Any], identity: dict[str, Any], path: Path) -> None:
    """Refuse to continue a run under other settings; its length and how often it logs may change."""
    free = {"runner"}
    for block, value in identity["Config"].items():
        if block not in free and state["Config"].get(block) != value:
            raise CheckpointError(f"{path} was trained with {block} {state['Config'].get(block)}, now it is {value}; give -n for a new run")
    for key, value in identity["Args"].items():
        if state["Args"].get(key) != value:
            raise CheckpointError(f"{path} was trained with {key} {state['Args'].get(key)!r}, now it is {value!r}; give -n for a new run")
