"""Everything that a downstream run needs, built: data, upstream, probe, and where its representations come from."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from lhotse import CutSet
from lhotse.cut import Cut

import upstream
from corpus.batching import evaluation_batches
from corpus.errors import DataError
from engine import experiment, sources
from engine.config import DownstreamConfig
from engine.data import demo_folder
from engine.device import accelerator as build_accelerator
from engine.errors import CheckpointError, ConfigError, did_you_mean
from engine.evaluation import MAX_CUTS, Evaluation, Evaluator, Ran
from engine.plan import Plan
from engine.probe import Probe
from engine.randomness import seed_all
from engine.sources import Origin
from engine.specaug import SpecAugment
from engine.store.reduction import Reduction
from engine.storing import Storage, Wanted
from engine.task import FRAME_ROUNDING, PADDED_TIME_MASKS, Classes, HeadTask, Setting, Task
from upstream.featurizer import Featurizer

log = logging.getLogger("weir")


class Session:
    """One plan, built on this process's device: task, data, upstream, and where its representations come from.

    Attributes:
        frozen: the upstream where it only encodes; None where it trains.
        origins: where the representations of each split came from that a source was asked for.
    """

    def __init__(self, plan: Plan, device: str | None, audio_only: bool = False) -> None:
        arguments = plan.arguments
        unused = arguments.upstream_trainable and arguments.layer is not None  # what lies above the chosen layer
        self.plan, self.accelerator = plan, build_accelerator(device, arguments.precision, unused)
        experiment.start_logging(self.main)
        for note in plan.notes:
            log.info("%s", note)
        with self.accelerator.main_process_first():
            encoder = upstream.load(arguments.upstream, arguments.upstream_ckpt, padding=arguments.padding)
        for note in encoder.notes:
            log.info("%s: %s", arguments.upstream, note)
        self.upstream_fingerprint = upstream.fingerprint(encoder)
        self.encoder = encoder.to(self.device)
        self.frozen: sources.Frozen | None = None
        if not arguments.upstream_trainable:
            self.frozen = sources.Frozen(encoder, self.device, self.accelerator.autocast, arguments.precision)
        root = None if audio_only else self._data_folder()
        corpus = plan.config.corpus.model_copy(update={"root": root, "demo": arguments.demo})
        self.config = plan.config.model_copy(update={"corpus": corpus})
        self.task: Task = plan.task(corpus, self.config.head, self._setting({}))
        self._cuts: dict[str, CutSet] = {}
        self.origins: dict[str, Origin] = {}
        self.storage = self._build_storage()

    @property
    def main(self) -> bool:
        """Whether this process writes and speaks."""
        return self.accelerator.is_main_process

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    def _setting(self, classes: Classes) -> Setting:
        return Setting(self.config.protocol, self.config.quirks, classes, self.encoder.stride)

    def _data_folder(self) -> Path | None:
        if self.plan.arguments.data:
            return Path(self.plan.arguments.data)
        if not self.plan.arguments.demo:
            return None  # every split has a manifest of its own, or says that it lacks one
        log.info("the built-in demo corpus is used (--data DIR or WEIR_DATA for real data)")
        with self.accelerator.main_process_first():
            return demo_folder(self.plan.task.demo_corpus)

    def current_fingerprint(self) -> str:
        """The upstream's fingerprint; a trained one's is that of its weights now."""
        return self.upstream_fingerprint if self.frozen is not None else upstream.fingerprint(self.encoder)

    def cuts(self, split: str) -> CutSet:
        """The utterances of a split. Raises DataError for an unknown or empty one, or one that this data does not give."""
        if split in self._cuts:
            return self._cuts[split]
        check_split(self.plan.task, split)
        if why := self.task.unavailable(split):
            raise DataError(f"{self.task.name} has no split {split} here: {why}")
        with self.accelerator.main_process_first():
            cuts = self.task.cuts(split).to_eager()
        if not len(cuts):
            raise DataError(f"split {split} of {self.task.name} is empty in {self.config.corpus.root}")
        self._cuts[split] = cuts
        return cuts

    def evaluation_batches(self, cuts: Iterable[Cut]) -> list[list[Cut]]:
        """The batches in which a split is evaluated and stored: the same ones, so that stored equals live."""
        return evaluation_batches(cuts, self.config.runner.eval_batch_seconds, MAX_CUTS)

    def source(self, split: str, cuts: Sequence[Cut] | None = None, uses: float | None = None, readers: int = 1) -> sources.Source:
        """Where the representations of a split come from: the store where it pays, else live.

        Args:
            cuts: what may be stored; None for the whole split. The rest is computed as it is needed.
            uses: how often each utterance will be needed; None for as often as training needs it.
            readers: how many need it so often, each in an order of its own.
        """
        stored, reduction = None, self.reduction()
        cuts = list(self.cuts(split)) if cuts is None else cuts
        if self.storage is None:
            origin = Origin("live", True, "the upstream trains", "none" if self.encoder.padding == "alone" else "reference")
        elif not cuts:
            origin = self.live(split).origin
        else:
            count = self._crops(split)
            wanted = Wanted(
                split,
                cuts,
                self.evaluation_batches(cuts),
                reduction,
                uses=lambda: readers * (self._uses(split) if uses is None else uses),
                crops=count,
            )
            stored, origin = self.storage.open(wanted)
        self.origins[split] = origin
        live = self.live(split, origin)
        whole = len(cuts) >= len(self.cuts(split))  # without crops, longer utterances are left out
        return live if stored is None else sources.Stored(stored, live, reduction, origin, whole)

    def exact_source(self, split: str) -> sources.Source:
        """The store of a split where there is one that gives what encoding it now would give, else live."""
        source = self.source(split, uses=1)
        return source if source.origin.exact else self.live(split)

    def live(self, split: str, origin: Origin | None = None) -> sources.Live:
        """Representations computed as they are needed."""
        return self._live(None, origin)

    def _live(self, label: Callable[[Cut], Any] | None, origin: Origin | None) -> sources.Live:
        return sources.Live(self.encoder.minimum_samples, label, origin or self._unstored(), pinned=self.device.type == "cuda")

    def _unstored(self) -> Origin:
        return Origin("live", True, "encoded as it is needed", "none" if self.encoder.padding == "alone" else "reference")

    def reduction(self) -> Reduction:
        """What is kept of a representation. Raises ConfigError where the configuration insists on means that are not enough."""
        if self.config.store.mode == "pooled":
            raise ConfigError(f"--store pooled: {self.task.name} needs every frame here, not their mean; give auto, frames or off")
        asked = self.config.store.dtype
        return Reduction(dtype=self.frozen.dtype if self.frozen is not None and asked == "float32" else asked)

    def _uses(self, split: str) -> float:
        """About how often each utterance of a split is needed."""
        return 1.0

    def _crops(self, split: str) -> int:
        """How many parts of longer utterances are stored."""
        return 0

    def _build_storage(self) -> Storage | None:
        if self.frozen is None:
            return None
        arguments, state = self.plan.arguments, self.plan.state or {}
        asked_now = state and state["Config"].get("store") != self.config.store.model_dump(mode="json")  # then it decides anew
        # What decides stored values to the last bit beside the audio: weights, precision, kind of device and of forward, and the batches.
        kind = arguments.precision, self.device.type, self.frozen.form
        deciding = (self.upstream_fingerprint, *kind, self.config.runner.eval_batch_seconds, MAX_CUTS)
        weights = f" ({Path(arguments.upstream_ckpt).name})" if arguments.upstream_ckpt else ""
        return Storage(
            self.config.store, self.frozen, self.accelerator, deciding="/".join(map(str, deciding)),
            title=f"{arguments.upstream}{weights}: {self.task.name}", earlier={} if asked_now else state.get("Store", {}),
        )  # fmt: skip


class HeadSession(Session):
    """A session whose task trains a head.

    Attributes:
        probe: featurizer and head, and the upstream where it trains too.
    """

    task: HeadTask
    config: DownstreamConfig

    def __init__(self, plan: Plan, device: str | None, audio_only: bool = False) -> None:
        super().__init__(plan, device, audio_only)
        if plan.arguments.upstream_trainable and not any(True for _ in self.encoder.parameters()):
            raise ConfigError(f"-f: {plan.arguments.upstream} has nothing to train; leave -f out")
        classes = plan.state.get("Classes", {}) if plan.state else self.task.find_classes(self.cuts(self.task.train_split))
        self.task = plan.task(self.config.corpus, self.config.head, self._setting(classes))  # type: ignore[assignment]
        self.probe = self.build_probe(plan.arguments.seed)
        self.evaluator = Evaluator(self.task, self.frozen, self.accelerator)

    def build_probe(self, seed: int) -> Probe:
        """A probe whose weights are drawn by `seed`, on the device."""
        arguments, config, encoder = self.plan.arguments, self.config, self.encoder
        seed_all(seed, "head")
        featurizer = Featurizer(encoder.num_states, encoder.dim, arguments.layer, arguments.upstream_feature_normalize)
        head = self.task.build_head(encoder.dim, encoder.stride)
        padded_masks = self.task.keeps(PADDED_TIME_MASKS)
        specaug = SpecAugment(config.specaug, encoder.dim, mask_padded=padded_masks) if config.specaug else None
        trained = encoder if arguments.upstream_trainable else None
        stride = encoder.stride if self.task.keeps(FRAME_ROUNDING) else None
        return Probe(featurizer, head, specaug, trained, stride=stride).to(self.device)

    def live(self, split: str, origin: Origin | None = None) -> sources.Live:
        return self._live(self.task.label if self.task.is_labelled(split) else None, origin)

    def reduction(self) -> Reduction:
        if self.probe.pools and self.config.store.mode in ("auto", "pooled"):
            return Reduction("pooled", stride=self.probe.stride)
        return super().reduction()

    def _uses(self, split: str) -> float:
        runner, task = self.config.runner, self.task
        if split != task.train_split:
            return math.ceil(runner.total_steps / runner.eval_step)
        cuts, batching = self.cuts(split), self.config.corpus.batching
        by_time = batching.max_seconds * len(cuts) / sources.seconds(cuts) if batching.max_seconds else math.inf
        batches = runner.total_steps * runner.gradient_accumulate_steps * self.accelerator.num_processes
        return batches * min(batching.batch_size or math.inf, by_time) / len(cuts)

    def _crops(self, split: str) -> int:
        task, crops = self.task, self.config.store.crops
        if split != task.train_split or not crops:
            return 0
        varied = any((length := task.crop_seconds(cut)) is not None and cut.duration > length for cut in self.cuts(split))
        return crops if varied else 0

    def evaluate(self, split: str, source: sources.Source | None = None) -> Evaluation:
        """Predictions and scores of a split with the weights of now."""
        return self.evaluator.score(self._run(split, source), lambda: self._run(self.task.dev_split).outcomes)

    def _run(self, split: str, source: sources.Source | None = None) -> Ran:
        batches = self.evaluation_batches(self.cuts(split))
        title = f"{split}{self.plan.mark}"
        return self.evaluator.outcomes([self.probe], split, source or self.live(split), batches, title, not self.main)[0]

    def load_weights(self, state: dict[str, Any], path: Path, probe: Probe | None = None) -> None:
        """Take a probe's weights (the session's own) from a checkpoint. Raises CheckpointError where they do not fit."""
        if self.frozen is not None and "Upstream" in state:
            raise CheckpointError(f"{path} holds a trained upstream, which a frozen run would lose; give -f, or leave -i out")
        for name, part in (probe or self.probe).parts.items():
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


def check_split(task: type[Task], split: str, evaluated: bool = False) -> None:
    """Raises DataError for a split that the task does not have, or does not evaluate, naming the nearest."""
    known = [name for name in task.splits if not (evaluated and name in task.unscored)]
    if split not in known:
        raise DataError(f"{task.name} has no split {split!r}{did_you_mean(split, known)} (splits: {', '.join(known)})")


def trained_parameters(session: HeadSession) -> int:
    """Parameters that training changes."""
    return sum(p.numel() for p in session.probe.parameters() if p.requires_grad)


def headline(session: HeadSession, folder: Path | None = None) -> str:
    """What is about to run, in one line; `folder` where it is not that of the session's plan."""
    arguments, config = session.plan.arguments, session.config
    weights = f" ({arguments.upstream_ckpt})" if arguments.upstream_ckpt else ""
    return (
        f"{session.task.name} on {arguments.upstream}{weights}{session.plan.mark}: preset {arguments.preset}, protocol {config.protocol}, "
        f"{trained_parameters(session):,} trained parameters, {config.runner.total_steps:,} steps -> {folder or session.plan.folder}"
    )
