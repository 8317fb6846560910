"""Everything that a downstream run needs, built: data, upstream, probe, and where its representations come from."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from lhotse import CutSet
from lhotse.cut import Cut

import upstream
from corpus.batching import evaluation_batches
from corpus.errors import DataError
from corpus.fingerprint import file_states, fingerprint
from engine import checkpoint, experiment, sources, store
from engine.data import demo_folder
from engine.device import accelerator as build_accelerator
from engine.errors import CheckpointError, ConfigError, did_you_mean
from engine.evaluation import MAX_CUTS, Evaluator
from engine.plan import Plan
from engine.probe import Probe
from engine.randomness import seed_all
from engine.specaug import SpecAugment
from engine.task import Task
from upstream.featurizer import Featurizer

log = logging.getLogger("weir")


class Session:
    """One plan, built on this process's device.

    Attributes:
        frozen: the upstream where it only encodes; None where it is part of the probe.
    """

    def __init__(self, plan: Plan, device: str | None, audio_only: bool = False) -> None:
        unused = plan.arguments.upstream_trainable and plan.arguments.layer is not None  # what lies above the chosen layer
        self.plan, self.accelerator = plan, build_accelerator(device, plan.arguments.precision, unused)
        experiment.start_logging(self.main)
        root = None if audio_only else self._data_folder()
        corpus = plan.config.corpus.model_copy(update={"root": root, "demo": plan.arguments.demo})
        self.config = plan.config.model_copy(update={"corpus": corpus})
        self.task: Task = plan.task(corpus, self.config.head, self.config.protocol)
        arguments = plan.arguments
        with self.accelerator.main_process_first():
            encoder = upstream.load(arguments.upstream, arguments.upstream_ckpt, padding=arguments.padding)
        self.upstream_fingerprint = upstream.fingerprint(encoder)
        self.encoder = encoder.to(self.device)
        if arguments.upstream_trainable and not any(True for _ in encoder.parameters()):
            raise ConfigError(f"-f: {arguments.upstream} has nothing to train; leave -f out")
        self.frozen = None if arguments.upstream_trainable else sources.Frozen(encoder, self.device, self.accelerator.autocast)
        self.probe = self._build_probe().to(self.device)
        self.evaluator = Evaluator(self.task, self.probe, self.frozen, self.accelerator)

    @property
    def main(self) -> bool:
        """Whether this process writes and speaks."""
        return self.accelerator.is_main_process

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    def _data_folder(self) -> Path | None:
        if self.plan.arguments.data:
            return Path(self.plan.arguments.data)
        if not self.plan.arguments.demo:
            return None  # every split has a manifest of its own, or says that it lacks one
        log.info("the built-in demo corpus is used (--data DIR or WEIR_DATA for real data)")
        with self.accelerator.main_process_first():
            return demo_folder(self.plan.task.demo_corpus)

    def _build_probe(self) -> Probe:
        arguments, config, encoder = self.plan.arguments, self.config, self.encoder
        seed_all(arguments.seed, "head")
        featurizer = Featurizer(encoder.num_states, encoder.dim, arguments.layer, arguments.upstream_feature_normalize)
        head = self.task.build_head(encoder.dim, encoder.stride)
        superb = config.protocol == "superb"
        specaug = SpecAugment(config.specaug, encoder.dim, mask_padded=superb) if config.specaug else None
        trained = encoder if arguments.upstream_trainable else None
        return Probe(featurizer, head, specaug, trained, stride=encoder.stride if superb else None)

    def load_weights(self, state: dict[str, Any], path: Path) -> None:
        """Take the probe's weights from a checkpoint. Raises CheckpointError where they do not fit."""
        if self.frozen is not None and "Upstream" in state:
            raise CheckpointError(f"{path} holds a trained upstream, which a frozen run would lose; give -f, or leave -i out")
        for name, part in self.probe.parts.items():
            if name not in state:
                raise CheckpointError(f"{path} holds no {name}")
            try:
                part.load_state_dict(state[name])
            except RuntimeError as error:
                reason = " ".join(str(error).split())[:300]
                raise CheckpointError(f"{path}: {name} does not fit this upstream and configuration: {reason}") from None

    def check_upstream(self, state: dict[str, Any], path: Path) -> None:
        """Refuse an upstream whose weights are not those that the head was trained on."""
        then = state.get("Fingerprints", {}).get("upstream")
        if self.frozen is not None and then != self.upstream_fingerprint:
            raise CheckpointError(
                f"{path} was trained on other weights of {self.plan.arguments.upstream} ({then[:12] if then else 'unknown'}) than "
                f"{self.plan.arguments.upstream_ckpt or 'the published ones'} hold now ({self.upstream_fingerprint[:12]})"
            )

    def current_fingerprint(self) -> str:
        """The upstream's fingerprint; a trained one's is that of its weights now."""
        return self.upstream_fingerprint if self.frozen is not None else upstream.fingerprint(self.encoder)

    def last_run(self) -> dict[str, Any]:
        """What the newest states in the folder say of the run; empty where there are none."""
        newest = experiment.newest(self.plan.checkpoint.parent if self.plan.checkpoint else self.plan.folder)
        return checkpoint.load(newest)["Run"] if newest else {}

    def cuts(self, split: str) -> CutSet:
        """The utterances of a split. Raises DataError for an unknown or empty one."""
        check_split(self.plan.task, split)
        with self.accelerator.main_process_first():
            cuts = self.task.cuts(split).to_eager()
        if not len(cuts):
            raise DataError(f"split {split} of {self.task.name} is empty in {self.config.corpus.root}")
        return cuts

    def evaluation_batches(self, cuts: CutSet) -> list[list[Cut]]:
        """The batches in which a split is evaluated and stored: the same ones, so that stored equals live."""
        return evaluation_batches(cuts, self.config.runner.eval_batch_seconds, MAX_CUTS)

    def live(self) -> sources.Live:
        """Representations computed as they are needed."""
        return sources.Live(self.task.label, self.encoder.minimum_samples)

    def source(self, cuts: CutSet, split: str) -> sources.Source:
        """Where the representations of a split come from while training: the store where it pays, else live."""
        if self.frozen is None:
            return self.live()
        size = sources.estimate_bytes(self.encoder, sum(cut.duration for cut in cuts))
        folder = store.location(self.upstream_fingerprint, f"{fingerprint(cuts)}/{file_states(cuts)}", self._compute_key())
        there = self.config.store.mode != "off" and (folder / "index.json").exists()
        # What is stored already is used however full the disk is now, so that a resumed run reads what it read before.
        chosen, why = (True, f"{size / 2**30:.2f} GB of frames") if there else sources.should_store(self.config.store, size)
        if not chosen:
            log.info("%s: encoded at every step (%s)", split, why)
            return self.live()
        found = "read from the store" if there else "encoded once and stored"
        log.info("%s: %s (%s)", split, found, why)
        with self.accelerator.main_process_first():
            if (folder / "index.json").exists():
                stored = store.Store(folder)
            else:
                stored = sources.build_store(folder, self.frozen, self.evaluation_batches(cuts), f"encode {split}", not self.main)
        return sources.Stored(self.task.label, stored)

    def _compute_key(self) -> str:
        """What else decides stored values to the last bit: precision, kind of device, and how utterances are batched."""
        return f"{self.plan.arguments.precision}/{self.device.type}/{self.config.runner.eval_batch_seconds}/{MAX_CUTS}"


def check_split(task: type[Task], split: str) -> None:
    """Raises DataError for a split that the task does not have, naming the nearest."""
    known = list(task.splits)
    if split not in known:
        raise DataError(f"{task.name} has no split {split!r}{did_you_mean(split, known)} (splits: {', '.join(known)})")


def trained_parameters(session: Session) -> int:
    """Parameters that training changes."""
    return sum(p.numel() for p in session.probe.parameters() if p.requires_grad)


def headline(session: Session) -> str:
    """What is about to run, in one line."""
    arguments, config = session.plan.arguments, session.config
    weights = f" ({arguments.upstream_ckpt})" if arguments.upstream_ckpt else ""
    return (
        f"{session.task.name} on {arguments.upstream}{weights}{session.plan.mark}: preset {arguments.preset}, protocol {config.protocol}, "
        f"{trained_parameters(session):,} trained parameters, {config.runner.total_steps:,} steps -> {session.plan.folder}"
    )
