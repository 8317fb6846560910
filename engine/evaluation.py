"""Running probes over a split: predictions first, every number from them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from lhotse.cut import Cut
from torch import Tensor
from tqdm import tqdm

from engine.prefetch import prefetch
from engine.probe import Probe
from engine.sources import Frozen, Loaded, Source
from engine.task import HeadTask, Outcome, Outcomes, Prediction, Score
from upstream.base import Representation

MAX_CUTS = 32
"""Utterances in an evaluation batch, at most."""


@dataclass(frozen=True)
class Ran:
    """A split run through a probe; `loss` is None where it has no labels, `seconds` the probe's share of the time."""

    outcomes: Outcomes
    loss: float | None
    seconds: float


@dataclass(frozen=True)
class Evaluation:
    """The outcome of one split, with its predictions sorted by id."""

    predictions: list[Prediction]
    scores: dict[str, Score]
    loss: float | None
    seconds: float


@dataclass(frozen=True)
class Prepared:
    """A micro-batch as probes take it, on the device: hidden states, or waveforms where the upstream trains; see `Probe.forward`."""

    utt_ids: list[str]
    labels: list[Any]
    inputs: Tensor
    lengths: Tensor
    samples: Tensor

    def through(self, probe: Any) -> Any:
        """A head's output."""
        return probe(self.inputs, self.lengths, self.samples)

    def pooled(self, probe: Probe) -> Prepared:
        """The same with what the probe hears of it, which is all that others like it need."""
        heard = probe.heard(Representation(self.inputs, self.lengths), self.samples)
        return replace(self, inputs=heard.hidden_states, lengths=heard.lengths)


class Evaluator:
    """Evaluates probes on splits; with several processes each does its share and all hold the whole outcome.

    Args:
        frozen: the upstream that only encodes; None where it is part of the probe.
    """

    def __init__(self, task: HeadTask, frozen: Frozen | None, accelerator: Accelerator) -> None:
        self.task, self.frozen, self.accelerator = task, frozen, accelerator

    def prepare(self, loaded: Loaded) -> Prepared:
        """Encode what is not yet encoded."""
        samples = loaded.samples.to(self.accelerator.device)
        if self.frozen is None:
            assert loaded.audio is not None
            batch = loaded.audio.to(self.accelerator.device)
            return Prepared(loaded.utt_ids, loaded.labels, batch.wavs, batch.lengths, samples)
        representation = self.frozen.represent(loaded)
        return Prepared(loaded.utt_ids, loaded.labels, representation.hidden_states, representation.lengths, samples)

    def outcomes(
        self, probes: Sequence[Probe], split: str, source: Source, batches: Sequence[Sequence[Cut]], title: str, quiet: bool
    ) -> list[Ran]:  # fmt: skip
        """Run every utterance of `batches` through each probe, reading and encoding it once. No random state is touched."""
        rank, processes, labelled = self.accelerator.process_index, self.accelerator.num_processes, self.task.is_labelled(split)
        own = batches[rank::processes]
        rows: list[list[tuple[str, Outcome, float]]] = [[] for _ in probes]
        began = time.monotonic()
        for probe in probes:
            probe.eval()
        with torch.no_grad():
            ahead = prefetch(source.load, own, 2 if source.reads_ahead else 0)
            for loaded in tqdm(ahead, total=len(own), desc=title, unit="batch", disable=quiet, leave=False):
                prepared = self.prepare(loaded)
                if len(probes) > 1 and self.frozen is not None and all(probe.pools for probe in probes):
                    prepared = prepared.pooled(probes[0])
                for probe, of_probe in zip(probes, rows, strict=True):
                    of_probe += self._found(probe, prepared, labelled)
        cuts, seconds = {cut.id: cut for batch in batches for cut in batch}, time.monotonic() - began
        found = []
        for of_probe in rows:
            every = sorted(gather_object(of_probe) if processes > 1 else of_probe, key=lambda row: row[0])
            mean = math.fsum(loss for *_, loss in every) / len(every) if labelled else None
            found.append(Ran(Outcomes(split, cuts, {utt_id: outcome for utt_id, outcome, _ in every}), mean, seconds / len(probes)))
        return found

    def _found(self, probe: Probe, prepared: Prepared, labelled: bool) -> list[tuple[str, Outcome, float]]:
        """Id, outcome and loss of each utterance of a batch; the loss is the batch's mean."""
        with self.accelerator.autocast():
            output = prepared.through(probe)
            loss = float(self.task.loss(output, prepared.labels)) if labelled else 0.0
        found = self.task.predict(output, prepared.utt_ids)
        return [(utt_id, outcome, loss) for utt_id, outcome in zip(prepared.utt_ids, found, strict=True)]

    def score(self, ran: Ran, dev: Callable[[], Outcomes]) -> Evaluation:
        """Predictions and metrics of a split; `dev` gives the development split's outcomes to tasks that tune on it."""
        predictions = sorted(self.task.collect(ran.outcomes, dev), key=lambda row: row.utt_id)
        return Evaluation(predictions, self.task.score(predictions), ran.loss, ran.seconds)

    def infer(self, probe: Probe, loaded: Loaded) -> list[Prediction]:
        """Predictions for one unlabelled micro-batch."""
        probe.eval()
        with torch.no_grad(), self.accelerator.autocast():
            output = self.prepare(loaded).through(probe)
        return self.task.infer(output, loaded.utt_ids)
