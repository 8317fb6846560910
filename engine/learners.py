"""What the training loop trains: a head on an upstream, or an upstream by a pre-training objective."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from accelerate import Accelerator
from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.utils import fastcopy
from torch import Tensor, nn

from corpus.batch import Batch, load_batch
from corpus.batching import Batching, Position, stream
from engine.errors import ConfigError
from engine.evaluation import Evaluator, Ran
from engine.probe import Probe
from engine.sources import Loaded, Source
from engine.trainer import Evaluated


class HeadLearner:
    """A probe that learns a task.

    Args:
        watched: for each split evaluated during training, its source and its batches.
        crops: where a task trains on random parts of utterances, how many of each are stored; 0 where every one is new.
    """

    def __init__(
        self, evaluator: Evaluator, cuts: CutSet, batching: Batching, seed: int, source: Source,
        watched: Mapping[str, tuple[Source, Sequence[Sequence[Cut]]]], crops: int = 0,
    ) -> None:  # fmt: skip
        self.evaluator, self.cuts, self.batching, self.seed, self.source, self.watched = evaluator, cuts, batching, seed, source, watched
        self.crops = crops
        self.module: Probe = evaluator.probe

    def stream(self, start: Position) -> Iterator[tuple[Position, Sequence[Cut]]]:
        task, at = self.evaluator.task, start
        for after, cuts in stream(self.cuts, self.batching, self.seed, start, task.label):
            yield after, [self._heard(cut, task.crop_seconds(cut), f"{self.seed}/{at}/{place}") for place, cut in enumerate(cuts)]
            at = after

    def _heard(self, cut: Cut, seconds: float | None, key: str) -> Cut:
        """What a step hears of an utterance: a part drawn by `key`, from all places or from the stored ones."""
        if self.crops:
            return crop(cut, seconds, random.Random(key).randrange(self.crops))
        return cropped(cut, seconds, key)

    def load(self, cuts: Sequence[Cut]) -> Loaded:
        return self.source.load(cuts)

    def compute(self, module: nn.Module, loaded: Loaded) -> tuple[Tensor, dict[str, float]]:
        return self.evaluator.task.loss(self.evaluator.output(module, loaded), loaded.labels), {}

    def evaluate(self, step: int) -> list[Evaluated]:
        task, results = self.evaluator.task, []
        main = task.metrics[0]
        ran: dict[str, Ran] = {}

        def run(split: str) -> Ran:
            if split not in self.watched:
                raise ConfigError(f"{task.name} tunes on {split}: name it in config.runner.eval_dataloaders")
            if split not in ran:
                ran[split] = self.evaluator.outcomes(split, *self.watched[split], split, not self.evaluator.accelerator.is_main_process)
            return ran[split]

        for split in self.watched:
            outcome = self.evaluator.score(run(split), lambda: run(task.dev_split).outcomes)
            value = outcome.scores[main.name].value * (1 if main.higher_is_better else -1)
            loss = {} if outcome.loss is None else {"loss": outcome.loss}
            measures = {**loss, **{name: score.value for name, score in outcome.scores.items()}}
            results.append(Evaluated(split, measures, value if split == task.dev_split else None))
        return results


def cropped(cut: Cut, seconds: float | None, key: str) -> Cut:
    """A part of so many seconds whose place is drawn by `key`, under an id of its own; the cut itself where it is not longer."""
    if seconds is None or cut.duration <= seconds:
        return cut
    samples, rate = round(seconds * cut.sampling_rate), cut.sampling_rate
    first = random.Random(key).randint(0, round(cut.duration * rate) - samples)
    return fastcopy(cut, id=f"{cut.id}@{first}", start=cut.start + first / rate, duration=samples / rate)


def crop(cut: Cut, seconds: float | None, number: int) -> Cut:
    """One of the parts of an utterance that are stored."""
    return cropped(cut, seconds, f"{cut.id}/{number}")


def storable(cuts: Iterable[Cut], seconds: Callable[[Cut], float | None], crops: int) -> list[Cut]:
    """What may be stored of training utterances: whole ones, and so many parts of those that are heard in part."""
    found: dict[str, Cut] = {}
    for cut in cuts:
        length = seconds(cut)
        whole = length is None or cut.duration <= length
        parts = [cut] if whole else [crop(cut, length, number) for number in range(crops)]
        found |= {part.id: part for part in parts}
    return list(found.values())


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
