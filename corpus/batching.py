"""Which cuts make a batch, and in which order: decided by (seed, epoch) and the cuts alone.

Always as if there were one process: whoever runs several deals these batches out. Nothing here reads audio or looks at the
number of processes or at the global random state. Draw batches in the process that trains, not in a data loader's worker:
Lhotse's sampler would mix the worker's number in.
"""

from __future__ import annotations

import hashlib
import logging
import random
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from corpus.errors import DataError

if TYPE_CHECKING:
    from lhotse.cut import Cut

logger = logging.getLogger(__name__)

WHOLE_CORPUS = 1_000_000_000
"""Lhotse's shuffling buffer, in cuts: an epoch is shuffled as a whole."""

BATCHES_A_BUCKET = 4
"""Full batches that a bucket should hold at least: a small corpus gets fewer buckets, and so fewer incomplete batches."""


class Batching(BaseModel):
    """How training batches are made.

    Attributes:
        method: `buckets` draws each batch at random from cuts of similar length; `random` from all cuts; `fixed` is SUPERB's ASR
            rule, where the cuts of a batch stay together for the whole training and only the order of batches changes; `balanced`
            is SUPERB's KS rule, an epoch of as many draws as there are cuts, with replacement, each class as likely as another;
            `windows` is SUPERB's PR and SF rule, a window for each cut over all cuts sorted by target length.
        batch_size: cuts a batch, at most (`fixed`, `balanced` and `windows`: exactly, the last one of `fixed` excepted).
        max_seconds: padded seconds a batch (cuts times the longest), at most; a single longer cut is a batch of its own.
        num_buckets: ranges of length for `buckets`, at most; a small corpus gets fewer.
        halved: `fixed` only: each full batch becomes two halves, as SUPERB's published recipe does in effect (32 becomes 16).
        halved_above_seconds: `windows` only: where the first cut is longer, the first half of the window is the batch.
        min_utterance_seconds: shorter cuts are left out of training.
        max_utterance_seconds: longer cuts are left out of training.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["buckets", "random", "fixed", "balanced", "windows"] = "buckets"
    batch_size: int | None = Field(None, ge=1)
    max_seconds: float | None = Field(None, gt=0)
    num_buckets: int = Field(30, ge=1)
    halved: bool = False
    halved_above_seconds: float | None = Field(None, gt=0)
    min_utterance_seconds: float = Field(0.0, ge=0)
    max_utterance_seconds: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _complete(self) -> Batching:
        if self.method != "buckets" and (self.batch_size is None or self.max_seconds is not None):
            raise ValueError(f"method: {self.method} needs batch_size, and takes no max_seconds")
        if self.method == "buckets" and self.batch_size is None and self.max_seconds is None:
            raise ValueError("method: buckets needs batch_size, max_seconds or both")
        if self.method != "fixed" and self.halved:
            raise ValueError("halved belongs to method: fixed")
        if self.method != "windows" and self.halved_above_seconds is not None:
            raise ValueError("halved_above_seconds belongs to method: windows")
        return self


@dataclass(frozen=True, order=True)
class Position:
    """A place in the endless stream: before the index-th batch of an epoch, both from 0."""

    epoch: int = 0
    index: int = 0


Label = Callable[["Cut"], Any]
"""What a task's loss needs of a cut: `balanced` takes it for the class, `windows` its length."""


def stream(
    cuts: Iterable[Cut], config: Batching, seed: int, start: Position, label: Label | None = None
) -> Iterator[tuple[Position, list[Cut]]]:
    """Batches epoch after epoch without end, from `start` on, each with the position after it.

    Keep that position and hand it back as `start`: what comes is what would have come. Finding the place draws one epoch's
    batches (about a second for 30,000 cuts) and reads no audio.

    Raises:
        DataError: no cut is left to train on.
    """
    draw = _drawing(_usable(cuts, config), config, label)
    epoch, index = start.epoch, start.index
    while True:
        batches = _epoch(draw, seed, epoch)
        for number in range(index, len(batches)):
            yield Position(epoch, number + 1) if number + 1 < len(batches) else Position(epoch + 1), batches[number]
        epoch, index = epoch + 1, 0


def training_batches(cuts: Iterable[Cut], config: Batching, seed: int, epoch: int, label: Label | None = None) -> Iterator[list[Cut]]:
    """The batches of one epoch: the same for the same cuts (in any order), configuration, seed and epoch.

    Raises:
        DataError: no cut is left to train on, or so few that they make no batch.
    """
    yield from _epoch(_drawing(_usable(cuts, config), config, label), seed, epoch)


def evaluation_batches(cuts: Iterable[Cut], max_seconds: float, max_cuts: int) -> list[list[Cut]]:
    """Every cut once, longest first, in batches of at most `max_cuts` and `max_seconds` (padded; one cut may be longer)."""
    return _packed(_by_length(cuts), max_seconds, max_cuts)


Drawing = Callable[[int, int], list[list["Cut"]]]
"""From (seed, epoch) to the batches of an epoch."""


def _epoch(draw: Drawing, seed: int, epoch: int) -> list[list[Cut]]:
    batches = draw(seed, epoch)
    _generator(seed, epoch, "order").shuffle(batches)
    return batches


def _drawing(cuts: list[Cut], config: Batching, label: Label | None) -> Drawing:
    """How the batches of an epoch are made of these cuts; what does not change between epochs is done here."""
    size = config.batch_size or 0
    if config.method == "buckets":
        return partial(_bucketed, cuts, config)
    if config.method == "random":
        return partial(_random, cuts, size)
    if config.method == "balanced":
        draw: Drawing = partial(_balanced, cuts, [str(_labelled(label)(cut)) for cut in cuts], size)
    elif config.method == "windows":
        draw = partial(_unchanged, _windows(cuts, config, _labelled(label)))
    else:
        draw = partial(_unchanged, _fixed(cuts, config))
    if not draw(0, 0):
        raise DataError(f"no batch of {size} can be made of {len(cuts)} utterances; take a smaller batch_size or more data")
    return draw


def _labelled(label: Label | None) -> Label:
    if label is None:
        raise DataError("batching by balanced or windows needs labelled utterances; take method: random or buckets")
    return label


def _unchanged(batches: list[list[Cut]], seed: int, epoch: int) -> list[list[Cut]]:
    """The same batches in every epoch."""
    return list(batches)


def _random(cuts: list[Cut], size: int, seed: int, epoch: int) -> list[list[Cut]]:
    """Every cut once, in random company."""
    order = list(cuts)
    _generator(seed, epoch, "company").shuffle(order)
    return [order[start : start + size] for start in range(0, len(order), size)]


def _balanced(cuts: list[Cut], classes: list[str], size: int, seed: int, epoch: int) -> list[list[Cut]]:
    """As many draws with replacement as there are cuts, each class as likely as another; an incomplete batch is left out."""
    counts = Counter(classes)
    weights = [1 / counts[name] for name in classes]
    drawn = _generator(seed, epoch, "balanced").choices(cuts, weights, k=len(cuts))
    return [drawn[start : start + size] for start in range(0, len(drawn) - size + 1, size)]


def _windows(cuts: list[Cut], config: Batching, label: Label) -> list[list[Cut]]:
    """A window for each cut over all cuts by target length, longest first; the last ones repeat.

    Source: s3prl, ``downstream/ctc/data.py``.
    """
    size = min(config.batch_size or 1, len(cuts))
    ordered = sorted(cuts, key=lambda cut: (-len(label(cut)), cut.id))
    starts = [min(len(ordered) - size, start) for start in range(len(ordered))]
    long = config.halved_above_seconds or float("inf")
    return [ordered[start : start + (max(1, size // 2) if ordered[start].duration > long else size)] for start in starts]


def _bucketed(cuts: list[Cut], config: Batching, seed: int, epoch: int) -> list[list[Cut]]:
    """Lhotse's dynamic buckets, as if alone.

    `sync_buckets` stays on: without it Lhotse 1.33 ends an epoch early and loses cuts. A batch closes there when one more cut
    of its length would be too much, so that a longer last cut can reach beyond `max_seconds`: such a batch is halved.
    """
    from lhotse.dataset.sampling import DynamicBucketingSampler

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="We have exceeded the max_duration")  # `_usable` says it once
        sampler = DynamicBucketingSampler(
            cuts,
            max_duration=config.max_seconds,
            max_cuts=config.batch_size,
            duration_bins=_bins(cuts, config),
            shuffle=True,
            buffer_size=WHOLE_CORPUS,
            world_size=1,
            rank=0,
            seed=_generator(seed, epoch, "buckets").getrandbits(32),
            sync_buckets=True,
        )
        batches = [list(batch) for batch in sampler]
    return [part for batch in batches for part in _halved(batch, config.max_seconds)]


def _halved(batch: list[Cut], max_seconds: float | None) -> list[list[Cut]]:
    """The batch, or its longer and its shorter half (and so on) where it is beyond the limit."""
    if max_seconds is None or len(batch) == 1 or len(batch) * max(cut.duration for cut in batch) <= max_seconds:
        return [batch]
    ordered = _by_length(batch)
    middle = len(batch) // 2
    return _halved(ordered[:middle], max_seconds) + _halved(ordered[middle:], max_seconds)


def _bins(cuts: list[Cut], config: Batching) -> list[float]:
    """Boundaries (s) between buckets that hold about the same time; one at least."""
    from lhotse.dataset.sampling.dynamic_bucketing import estimate_duration_buckets

    by_count = len(cuts) / config.batch_size if config.batch_size else 0.0
    by_time = sum(cut.duration for cut in cuts) / config.max_seconds if config.max_seconds else 0.0
    buckets = min(config.num_buckets, len(cuts), int(max(by_count, by_time)) // BATCHES_A_BUCKET)
    bins = estimate_duration_buckets(cuts, buckets) if buckets > 1 else []
    return [float(edge) for edge in bins] or [max(cut.duration for cut in cuts)]


def _fixed(cuts: list[Cut], config: Batching) -> list[list[Cut]]:
    """Consecutive cuts by length; a last batch of one cut is left out, an incomplete one is not halved.

    Source: s3prl, ``downstream/asr/dataset.py``.
    """
    size = config.batch_size
    assert size is not None
    ordered = _by_length(cuts)
    batches = [ordered[i : i + size] for i in range(0, len(ordered), size)]
    if len(batches[-1]) == 1 < size:
        batches.pop()
    if config.halved and size > 1:
        halves = ([batch[: size // 2], batch[size // 2 :]] if len(batch) == size else [batch] for batch in batches)
        return [half for pair in halves for half in pair]
    return batches


def _packed(cuts: Iterable[Cut], max_seconds: float | None, max_cuts: int | None) -> list[list[Cut]]:
    """Cuts in the order given, a new batch wherever one more would go beyond a limit."""
    batches: list[list[Cut]] = []
    longest = 0.0
    for cut in cuts:
        longest = max(longest, cut.duration)
        size = len(batches[-1]) + 1 if batches else 1
        if not batches or (max_cuts and size > max_cuts) or (max_seconds and size * longest > max_seconds):
            batches.append([])
            longest = cut.duration
        batches[-1].append(cut)
    return batches


def _by_length(cuts: Iterable[Cut]) -> list[Cut]:
    """Longest first; equal lengths by id."""
    return sorted(cuts, key=lambda cut: (-cut.duration, cut.id))


def _usable(cuts: Iterable[Cut], config: Batching) -> list[Cut]:
    """The cuts to train on, sorted by id; what is left out or over-long is said in the log."""
    every = sorted(cuts, key=lambda cut: cut.id)
    longest = config.max_utterance_seconds or float("inf")
    kept = [cut for cut in every if config.min_utterance_seconds <= cut.duration <= longest]
    limits = f"min_utterance_seconds {config.min_utterance_seconds}, max_utterance_seconds {config.max_utterance_seconds}"
    if not kept:
        raise DataError(f"no utterance to train on: {len(every)} given, none within {limits}")
    if len(kept) < len(every):
        logger.warning("%d of %d utterances are left out of training (%s)", len(every) - len(kept), len(every), limits)
    over = [cut.duration for cut in kept if config.max_seconds and cut.duration > config.max_seconds]
    if over:
        beyond = f"{len(over)} utterances (up to {max(over):.1f} s) are longer than max_seconds {config.max_seconds}"
        logger.warning("%s: each is a batch of its own", beyond)
    return kept


def _generator(seed: int, epoch: int, purpose: str) -> random.Random:
    """Random numbers that depend on these three alone (not on Python's hash seed)."""
    digest = hashlib.sha256(f"{seed}/{epoch}/{purpose}".encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))
