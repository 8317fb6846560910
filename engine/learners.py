"""What the training loop trains: a head on an upstream, or an upstream by a pre-training objective."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from accelerate import Accelerator
from lhotse import CutSet
from lhotse.cut import Cut
from torch import Tensor, nn

from corpus.batch import Batch, load_batch
from corpus.batching import Batching, Position, stream
from engine.evaluation import Evaluator
from engine.probe import Probe
from engine.sources import Loaded, Source
from engine.trainer import Evaluated


class HeadLearner:
    """A probe that learns a task.

    Args:
        watched: for each split evaluated during training, its source and its batches.
    """

    def __init__(
        self, evaluator: Evaluator, cuts: CutSet, batching: Batching, seed: int, source: Source,
        watched: Mapping[str, tuple[Source, Sequence[Sequence[Cut]]]],
    ) -> None:  # fmt: skip
        self.evaluator, self.cuts, self.batching, self.seed, self.source, self.watched = evaluator, cuts, batching, seed, source, watched
        self.module: Probe = evaluator.probe

    def stream(self, start: Position) -> Iterator[tuple[Position, Sequence[Cut]]]:
        return stream(self.cuts, self.batching, self.seed, start)

    def load(self, cuts: Sequence[Cut]) -> Loaded:
        return self.source.load(cuts)

    def compute(self, module: nn.Module, loaded: Loaded) -> tuple[Tensor, dict[str, float]]:
        return self.evaluator.task.loss(self.evaluator.output(module, loaded), loaded.labels), {}

    def evaluate(self, step: int) -> list[Evaluated]:
        task, results = self.evaluator.task, []
        quiet = not self.evaluator.accelerator.is_main_process
        for split, (source, batches) in self.watched.items():
            outcome = self.evaluator.evaluate(source, batches, split, quiet)
            main = task.metrics[0]
            value = outcome.scores[main.name].value * (1 if main.higher_is_better else -1)
            measures = {"loss": outcome.loss, **{name: score.value for name, score in outcome.scores.items()}}
            results.append(Evaluated(split, measures, value if split == task.dev_split else None))
        return results


class ObjectiveLearner:
    """An upstream that learns by an objective."""

    def __init__(self, module: nn.Module, cuts: CutSet, batching: Batching, seed: int, accelerator: Accelerator) -> None:
        self.module, self.cuts, self.batching, self.seed, self.accelerator = module, cuts, batching, seed, accelerator

    def stream(self, start: Position) -> Iterator[tuple[Position, Sequence[Cut]]]:
        return stream(self.cuts, self.batching, self.seed, start)

    def load(self, cuts: Sequence[Cut]) -> Batch:
        return load_batch(cuts)

    def compute(self, module: nn.Module, loaded: Any) -> tuple[Tensor, dict[str, float]]:
        batch = loaded.to(self.accelerator.device)
        return module(batch.wavs, batch.lengths)

    def evaluate(self, step: int) -> list[Evaluated]:
        return []
