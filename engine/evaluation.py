"""Running a probe over a split: predictions first, every number from them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from lhotse.cut import Cut
from tqdm import tqdm

from engine.prefetch import prefetch
from engine.probe import Probe
from engine.sources import Frozen, Loaded, Source
from engine.task import HeadTask, Outcome, Outcomes, Prediction, Score

MAX_CUTS = 32
"""Utterances in an evaluation batch, at most."""


@dataclass(frozen=True)
class Ran:
    """A split run through the probe; `loss` is None where it has no labels."""

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


class Evaluator:
    """Evaluates a probe on splits; with several processes each does its share and all hold the whole outcome.

    Args:
        frozen: the upstream that only encodes; None where it is part of the probe.
    """

    def __init__(self, task: HeadTask, probe: Probe, frozen: Frozen | None, accelerator: Accelerator) -> None:
        self.task, self.probe, self.frozen, self.accelerator = task, probe, frozen, accelerator

    def output(self, module: Any, loaded: Loaded) -> Any:
        """The head's output for one micro-batch."""
        samples = loaded.samples.to(self.accelerator.device)
        if self.frozen is None:
            assert loaded.audio is not None
            batch = loaded.audio.to(self.accelerator.device)
            return module(batch.wavs, batch.lengths, samples)
        representation = self.frozen.represent(loaded)
        return module(representation.hidden_states, representation.lengths, samples)

    def outcomes(self, split: str, source: Source, batches: Sequence[Sequence[Cut]], title: str, quiet: bool) -> Ran:
        """Run every utterance of `batches` through the probe. The random state of training is not touched."""
        cuts = {cut.id: cut for batch in batches for cut in batch}
        rank, processes, labelled = self.accelerator.process_index, self.accelerator.num_processes, self.task.is_labelled(split)
        own = batches[rank::processes]
        rows: list[tuple[str, Outcome, float]] = []
        began = time.monotonic()
        self.probe.eval()
        with torch.no_grad():
            ahead = prefetch(source.load, own, 2)
            for loaded in tqdm(ahead, total=len(own), desc=title, unit="batch", disable=quiet, leave=False):
                with self.accelerator.autocast():
                    output = self.output(self.probe, loaded)
                    loss = float(self.task.loss(output, loaded.labels)) if labelled else 0.0
                found = self.task.predict(output, loaded.utt_ids)
                rows += [(utt_id, outcome, loss) for utt_id, outcome in zip(loaded.utt_ids, found, strict=True)]
        if processes > 1:
            rows = gather_object(rows)
        rows.sort(key=lambda row: row[0])
        mean = math.fsum(loss for *_, loss in rows) / len(rows) if labelled else None
        found_by_id = {utt_id: outcome for utt_id, outcome, _ in rows}
        return Ran(Outcomes(split, cuts, found_by_id), mean, time.monotonic() - began)

    def score(self, ran: Ran, dev: Callable[[], Outcomes]) -> Evaluation:
        """Predictions and metrics of a split; `dev` gives the development split's outcomes to tasks that tune on it."""
        predictions = sorted(self.task.collect(ran.outcomes, dev), key=lambda row: row.utt_id)
        return Evaluation(predictions, self.task.score(predictions), ran.loss, ran.seconds)

    def infer(self, loaded: Loaded) -> list[Prediction]:
        """Predictions for one unlabelled micro-batch."""
        self.probe.eval()
        with torch.no_grad(), self.accelerator.autocast():
            output = self.output(self.probe, loaded)
        return self.task.infer(output, loaded.utt_ids)
