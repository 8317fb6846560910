"""From a command line to what is to be done, with every mistake found before anything heavy begins."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import upstream
from engine import experiment, rates
from engine.arguments import Arguments, from_checkpoint, typed
from engine.config import CONFIGS, DownstreamConfig, TaskConfig, downstream_schema, override, resolve, size_bytes, validate
from engine.data import named_folder
from engine.errors import CheckpointError, ConfigError, did_you_mean
from engine.task import HeadTask, SearchTask, Setting, Task
from upstream.registry import Registry


@dataclass(frozen=True)
class Plan:
    """One run, resolved.

    Attributes:
        checkpoint: what it goes on from, or evaluates; None for a fresh run.
        state: its content.
        is_experiment: the user named an experiment, not a checkpoint.
        notes: what was decided for the user, to be said at the start.
    """

    task: type[Task]
    arguments: Arguments
    config: TaskConfig
    folder: Path
    checkpoint: Path | None = None
    state: dict[str, Any] | None = None
    is_experiment: bool = False
    notes: tuple[str, ...] = ()

    @property
    def mark(self) -> str:
        """Stands beside every number of a run on demo data."""
        return " (demo)" if self.arguments.demo else ""


def plan_training(args: argparse.Namespace, tasks: Registry) -> Plan:
    """A fresh run, or one that goes on (`-a`, or `-e` with `-m train`)."""
    if args.auto_resume and args.overwrite:
        raise ConfigError("-a goes on with a run and --overwrite replaces it: give one of them")
    if args.evaluate_split:
        raise ConfigError("-t belongs to -m evaluate and -m inference; what is evaluated while training is config.runner.eval_dataloaders")
    if args.json:
        raise ConfigError("--json belongs to -m evaluate")
    if args.past_exp:
        return _resumed(args, tasks, experiment.newest_or_named(Path(args.past_exp)))
    task, given = _given(args, tasks)
    folder = named_experiment(args, task, given["upstream"])
    newest = experiment.newest(folder) if args.auto_resume else None
    if newest is not None:
        return plan_from_checkpoint(args, tasks, newest)
    experiment.claim(folder, bool(args.auto_resume), bool(args.overwrite or args.check))
    return _fresh(args, task, given, folder)


def _resumed(args: argparse.Namespace, tasks: Registry, path: Path) -> Plan:
    """A run that goes on from the checkpoint that `-e` names, in its own folder or in that of `-p`."""
    plan = plan_from_checkpoint(args, tasks, path)
    own = plan.folder.resolve() == path.parent.resolve()
    if args.auto_resume or (args.overwrite and own):
        raise ConfigError(f"-e goes on from {path}; leave {'-a' if args.auto_resume else '--overwrite'} out")
    if not own:
        experiment.claim(plan.folder, False, bool(args.overwrite or args.check))
    return plan


def plan_evaluation(args: argparse.Namespace, tasks: Registry) -> Plan:
    """An experiment's checkpoint to evaluate or to use."""
    for flag in ("auto_resume", "overwrite", "init_ckpt", "check", "layers", "sweep", "seeds"):
        if getattr(args, flag):
            raise ConfigError(f"--{flag} belongs to -m train")
    if args.json and args.mode != "evaluate":
        raise ConfigError("--json belongs to -m evaluate; inference always prints one JSON object a file")
    folder = experiment_folder(args, tasks)
    if folder is None:
        return plan_from_checkpoint(args, tasks, experiment.resolve_checkpoint(Path(args.past_exp)))
    if experiment.is_sweep(folder):
        members = experiment.sweep_members(folder)
        raise ConfigError(f"{folder} holds several runs ({', '.join(members)}): name one of them, as in -e {folder / members[0]}")
    newest = experiment.newest(folder)
    path = newest if newest and not experiment.has_best(folder) else experiment.best(folder)
    plan = replace(plan_from_checkpoint(args, tasks, path), is_experiment=True)
    if path == newest and not _chosen_on_test(plan):
        experiment.best(folder)  # says that there is none
    return plan


def _chosen_on_test(plan: Plan) -> bool:
    """Whether this run's result is that of the checkpoint that is the best one on test."""
    config = plan.config
    task = plan.task(config.corpus, config.head, Setting(config.protocol, config.quirks))
    return isinstance(task, HeadTask) and task.chosen_on_test


def experiment_folder(args: argparse.Namespace, tasks: Registry) -> Path | None:
    """The folder of the experiment that the command names; None where it names a checkpoint."""
    if args.past_exp:
        path = Path(args.past_exp)
        if not path.exists():
            raise CheckpointError(f"no checkpoint or experiment {path}")
        return path if path.is_dir() else None
    task, given = _given(args, tasks)
    folder = named_experiment(args, task, given["upstream"])
    if not folder.is_dir():
        raise ConfigError(f"no experiment {folder}: run -m train first, or name a checkpoint with -e")
    return folder


def search_task(args: argparse.Namespace, tasks: Registry) -> bool:
    """Whether the command names a task without training. Raises ConfigError where it asks to train one."""
    if args.past_exp or not args.downstream:
        return False
    task = tasks.load(args.downstream)
    if not issubclass(task, SearchTask):
        return False
    if args.mode != "evaluate":
        command = f"python run_downstream.py -m evaluate -u {args.upstream or 'UPSTREAM'} -d {task.name}"
        raise ConfigError(f"{task.name} has nothing to train: its numbers come from the hidden states alone; run  {command} -n NAME")
    return True


def plan_search(args: argparse.Namespace, tasks: Registry) -> Plan:
    """A run of a task without training."""
    for flag in (
        "auto_resume", "overwrite", "init_ckpt", "check", "layers", "sweep", "seeds", "upstream_trainable", "upstream_feature_normalize",
    ):  # fmt: skip
        if getattr(args, flag):
            raise ConfigError(f"--{flag} belongs to tasks whose head trains")
    task, given = _given(args, tasks)
    return _fresh(args, task, given, named_experiment(args, task, given["upstream"]))


def plan_from_checkpoint(args: argparse.Namespace, tasks: Registry, path: Path) -> Plan:
    """The run that a checkpoint belongs to, with what may be typed beside it."""
    from engine import checkpoint

    state = checkpoint.load(path)
    given = typed(args, tasks.resolve(args.downstream) if args.downstream else None)
    if args.data or args.demo:
        named_folder(args.data, args.demo)
    arguments = from_checkpoint(state["Args"], given, path)
    task = tasks.load(arguments.downstream)
    if args.expname and args.expname != path.parent.name:
        raise ConfigError(f"-n {args.expname}: {path} belongs to {path.parent.name}; give -p DIR for results elsewhere")
    if args.config:
        _same_configuration(Path(args.config), task, state["Config"], path)
    values = override(state["Config"], args.override)
    _same_variant(args, task, state["Config"]["corpus"], values["corpus"], path)
    config = _checked(task, validate(downstream_schema(task), _stored(values, args), str(path)), arguments)
    return Plan(task, arguments, config, Path(args.expdir) if args.expdir else path.parent, path, state)


def _same_variant(args: argparse.Namespace, task: type[Task], saved: dict[str, Any], values: dict[str, Any], path: Path) -> None:
    """Refuse another variant than the head was trained for: its test data may be what this head was trained on."""
    if args.downstream_variant:
        _variant_key(task, args.downstream_variant)
    key = task.variant_key if issubclass(task, HeadTask) else ""
    now = args.downstream_variant or values.get(key)
    if key and now != saved.get(key):
        raise ConfigError(
            f"-v {now} (config.corpus.{key}): {path} was trained with {saved.get(key)}; leave it out, or give -n for a new run"
        )


def _same_configuration(given: Path, task: type[Task], saved: dict[str, Any], path: Path) -> None:
    """Refuse a configuration file beside a checkpoint that says otherwise; where the data lies is the flags' matter."""
    found = resolve(downstream_schema(task), given, None).model_dump(mode="json")
    places = ("root", "demo", "manifests")
    for block, values in found.items():
        there = saved.get(block)
        if block == "corpus" and isinstance(there, dict):
            values, there = ({key: value for key, value in each.items() if key not in places} for each in (values, there))
        if block not in ("runner", "store") and values != there:
            raise ConfigError(
                f"-c {given}: {block} is {values}, but {path} was trained with {there}; leave -c out, or give -n for a new run"
            )


def _fresh(args: argparse.Namespace, task: type[Task], given: dict[str, Any], folder: Path) -> Plan:
    data = named_folder(args.data, args.demo)
    if args.config and args.preset:
        raise ConfigError("-c names a configuration and --preset another: give one of them")
    preset = args.preset or ("custom" if args.config else "superb" if data else "mini")
    config = _configuration(args, task, preset)
    if config.corpus.manifests and not args.demo and data is None:  # own data without a folder
        preset = "superb" if preset == "mini" and not args.preset else preset
        config, demo = _configuration(args, task, preset), False
    else:
        demo = data is None
    if "upstream_ckpt" not in given and demo and (small := upstream.shipped_for(given["upstream"])):
        given["upstream_ckpt"] = small
    upstream.require_weights(given["upstream"], given.get("upstream_ckpt"))
    if given.get("upstream_ckpt"):
        upstream.find_checkpoint(given["upstream_ckpt"])
    arguments = Arguments(**{**given, "preset": preset, "demo": demo, "data": str(data) if data else None})
    config, notes = _with_published_rate(args, config, arguments)
    return Plan(task, arguments, _checked(task, config, arguments), folder, notes=notes)


def _with_published_rate(args: argparse.Namespace, config: TaskConfig, arguments: Arguments) -> tuple[TaskConfig, tuple[str, ...]]:
    """The benchmark's recipe with the learning rate published for this frozen upstream, unless `-o` says something of the optimizer."""
    if arguments.preset != "superb" or arguments.upstream_trainable or not isinstance(config, DownstreamConfig):
        return config, ()
    rate = rates.recommended(arguments.upstream, arguments.downstream)
    if rate is None or "config.optimizer" in (args.override or ""):
        return config, ()
    published = f"published for {arguments.upstream} and {arguments.downstream} ({rate.source})"
    note = f"learning rate {rate.lr:g}, {published}; -o {rates.KEY}=… changes it"
    return config.model_copy(update={"optimizer": config.optimizer.model_copy(update={"lr": rate.lr})}), (note,)


def _configuration(args: argparse.Namespace, task: type[Task], preset: str) -> TaskConfig:
    """The preset's configuration, or that of `-c`, with everything typed applied."""
    path = Path(args.config) if args.config else (task.recipes or CONFIGS / "downstream") / preset / f"{task.name}.yaml"
    config = resolve(downstream_schema(task), path, args.override)
    values = _stored(config.model_dump(mode="json"), args)
    if args.downstream_variant:
        values["corpus"] |= {_variant_key(task, args.downstream_variant): args.downstream_variant}
    return validate(downstream_schema(task), values, str(path))


def _variant_key(task: type[Task], variant: str) -> str:
    """The key of the corpus block that `-v` sets. Raises ConfigError for a task without variants, or an unknown one."""
    known = task.variants if issubclass(task, HeadTask) else ()
    if not known:
        raise ConfigError(f"-v {variant}: {task.name} has no variants; leave it out")
    if variant not in known:
        raise ConfigError(f"-v {variant}: {task.name} has {', '.join(known)}; all stands for every one, and is no checkpoint's")
    return task.variant_key  # type: ignore[attr-defined]


def _checked(task: type[Task], config: TaskConfig, arguments: Arguments) -> TaskConfig:
    """The configuration with whole paths. Raises ConfigError for what it names in vain."""
    manifests = config.corpus.manifests
    if manifests and arguments.demo:
        raise ConfigError("config.corpus.manifests names own data and --demo the built-in corpora: give one of them")
    if arguments.upstream_trainable and config.store.mode in ("frames", "pooled"):
        raise ConfigError(f"--store {config.store.mode} keeps what a frozen upstream gives, and -f trains it: give one of them")
    quirks = [quirk.name for quirk in task.quirks]
    for name in config.quirks:
        if name not in quirks:
            known = f"(quirks: {', '.join(quirks) or 'none'})"
            raise ConfigError(f"config.quirks.{name}: {task.name} has no such quirk{did_you_mean(name, quirks)} {known}")
    for split, manifest in manifests.items():
        if split not in task.splits:
            raise ConfigError(f"config.corpus.manifests.{split}: {task.name} has no such split{did_you_mean(split, list(task.splits))}")
        if not manifest.is_file():
            raise ConfigError(f"config.corpus.manifests.{split}: no file {manifest}")
    whole = {split: manifest.resolve() for split, manifest in manifests.items()}
    return config.model_copy(update={"corpus": config.corpus.model_copy(update={"manifests": whole})})


def _given(args: argparse.Namespace, tasks: Registry) -> tuple[type[Task], dict[str, Any]]:
    """The task and what was typed, for a command that names both upstream and task."""
    name = tasks.resolve(args.downstream)
    return tasks.load(name), typed(args, name)


def named_task(args: argparse.Namespace, tasks: Registry) -> tuple[type[HeadTask], Path]:
    """The task that the command names, and the folder of the experiment."""
    task, given = _given(args, tasks)
    return task, named_experiment(args, task, given["upstream"])  # type: ignore[return-value]


def named_experiment(args: argparse.Namespace, task: type[Task], upstream_name: str) -> Path:
    """The folder that `-p` or `-n` names, or the default one."""
    if args.expdir and args.expname:
        raise ConfigError("-n names an experiment and -p its folder: give one of them")
    if args.expdir:
        return Path(args.expdir)
    stem = f"-{Path(args.upstream_ckpt).stem}" if args.upstream_ckpt else ""
    variant = f"-{args.downstream_variant}" if args.downstream_variant not in (None, "all") else ""
    return Path("result/downstream") / (args.expname or f"{task.name}-{upstream_name.replace(':', '-')}{stem}{variant}")


def _stored(values: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """The configuration with `--store` and `--store-limit`. Raises ConfigError for a limit that is no size."""
    if args.store_limit:
        try:
            size_bytes(args.store_limit)
        except ValueError as error:
            raise ConfigError(f"--store-limit: {error}") from None
    typed_store = {name: value for name, value in (("mode", args.store), ("limit", args.store_limit)) if value}
    return {**values, "store": {**values.get("store", {}), **typed_store}} if typed_store else values
