"""What the training loop trains: a head on an upstream, or an upstream by a pre-training objective."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from accelerate import Accelerator
from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.utils import fastcopy
from torch import Tensor, nn

from corpus.batch import Batch, load_batch
from corpus.batching import Batching, Position, stream
from engine.errors import ConfigError
from engine.evaluation import Evaluator, Prepared, Ran
from engine.probe import Probe
from engine.sources import Loaded, Source
from engine.trainer import Evaluated


@dataclass(frozen=True)
class TrainingData:
    """What heads learn from and are watched on.

    Attributes:
        source: of the training split.
        watched: for each split evaluated during training, its source and its batches.
        crops: where a task trains on random parts of utterances, how many of each are stored; 0 where every one is new.
    """

    cuts: CutSet
    batching: Batching
    source: Source
    watched: Mapping[str, tuple[Source, Sequence[Sequence[Cut]]]]
    crops: int = 0


class HeadLearner:
    """A probe that learns a task.

    Args:
        seed: decides the order of batches and the parts that are heard.
    """

    def __init__(self, probe: Probe, evaluator: Evaluator, data: TrainingData, seed: int) -> None:
        self.module, self.evaluator, self.data, self.seed = probe, evaluator, data, seed

    def stream(self, start: Position) -> Iterator[tuple[Position, Sequence[Cut]]]:
        task, at = self.evaluator.task, start
        for after, cuts in stream(self.data.cuts, self.data.batching, self.seed, start, task.label):
            yield after, [self._heard(cut, task.crop_seconds(cut), f"{self.seed}/{at}/{place}") for place, cut in enumerate(cuts)]
            at = after

    def _heard(self, cut: Cut, seconds: float | None, key: str) -> Cut:
        """What a step hears of an utterance: a part drawn by `key`, from all places or from the stored ones."""
        if self.data.crops:
            return crop(cut, seconds, random.Random(key).randrange(self.data.crops))
        return cropped(cut, seconds, key)

    @property
    def reads_ahead(self) -> bool:
        return self.data.source.reads_ahead

    def load(self, cuts: Sequence[Cut]) -> Loaded:
        return self.data.source.load(cuts)

    def prepare(self, loaded: Loaded) -> Prepared:
        return self.evaluator.prepare(loaded)

    def compute(self, module: nn.Module, prepared: Prepared) -> tuple[Tensor, dict[str, float]]:
        return self.evaluator.task.loss(prepared.through(module), prepared.labels), {}

    def evaluate(self, step: int) -> list[Evaluated]:
        return evaluate_together([self])[0]

    def judge(self, run: Callable[[str], Ran]) -> list[Evaluated]:
        """Measures of every split that is watched; `run` gives what its probe made of a split."""
        task, results = self.evaluator.task, []
        main = task.metrics[0]
        for split in self.data.watched:
            outcome = self.evaluator.score(run(split), lambda: run(task.dev_split).outcomes)
            value = outcome.scores[main.name].value * (1 if main.higher_is_better else -1)
            loss = {} if outcome.loss is None else {"loss": outcome.loss}
            measures = {**loss, **{name: score.value for name, score in outcome.scores.items()}}
            results.append(Evaluated(split, measures, value if split == task.dev_split else None))
        return results


def evaluate_together(learners: Sequence[HeadLearner]) -> list[list[Evaluated]]:
    """The evaluations of heads on the same data, which is read and encoded once for all of them."""
    first, probes, ran = learners[0], [learner.module for learner in learners], {}
    quiet = not first.evaluator.accelerator.is_main_process

    def run(split: str) -> list[Ran]:
        if split not in first.data.watched:
            raise ConfigError(f"{first.evaluator.task.name} tunes on {split}: name it in config.runner.eval_dataloaders")
        if split not in ran:
            ran[split] = first.evaluator.outcomes(probes, split, *first.data.watched[split], split, quiet)
        return ran[split]

    return [learner.judge(lambda split, place=place: run(split)[place]) for place, learner in enumerate(learners)]  # type: ignore[misc]


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

    @property
    def reads_ahead(self) -> bool:
        return True

    def load(self, cuts: Sequence[Cut]) -> Batch:
        return load_batch(cuts)

    def prepare(self, loaded: Batch) -> Batch:
        return loaded.to(self.accelerator.device)

    def compute(self, module: nn.Module, prepared: Batch) -> tuple[Tensor, dict[str, float]]:
        return module(prepared.wavs, prepared.lengths)

    def evaluate(self, step: int) -> list[Evaluated]:
        return []
