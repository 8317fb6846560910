"""Is one run better than another? A paired bootstrap over what both were tested on, from saved predictions.

Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 and 15; Bisani and Ney, Bootstrap estimates for
confidence intervals in ASR performance evaluation, ICASSP 2004.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

import numpy as np

import downstream
from corpus.errors import DataError
from engine.config import downstream_schema, validate
from engine.errors import ConfigError
from engine.task import Metric, Prediction, Setting, Task
from report.collect import Run, predictions
from report.table import aligned, number

RESAMPLES = 5_000
FEW_RESAMPLES = 200
"""For metrics that do not say how they depend on their units, and must be scored again for every resample."""

SEED = 20210503  # the same runs always compare the same
AT_ONCE = 1 << 20
"""Units times resamples that are worked on together."""

LEVEL = 0.05
"""A difference this unlikely by chance is called one."""


@dataclass(frozen=True)
class Difference:
    """One metric of two runs, A and B.

    Attributes:
        difference: A - B, with its 95 % interval `low` to `high`.
        p_value: two-sided, for no difference.
        better: "A", "B", or "" where chance explains the difference.
    """

    metric: str
    unit: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    p_value: float
    better: str


@dataclass(frozen=True)
class Comparison:
    """What two runs of one task have to say about each other."""

    task: str
    split: str
    a: Run
    b: Run
    items: int
    demo: bool
    differences: tuple[Difference, ...]


Sample = tuple[Sequence[Prediction], Sequence[Prediction]]
"""The predictions of A and B on the same items, in the same order."""


def compare(a: Run, b: Run, split: str | None = None) -> Comparison:
    """Compare two runs on a split, the task's test split by default.

    Raises:
        ConfigError: they are runs of different tasks or protocols, or were tested on different items.
        CheckpointError: predictions are missing or broken.
    """
    task = _same_task(a, b)
    split = split or task.test_split
    samples = _samples(a, b, split)
    found = [_draw(task, sample, SEED + place) for place, sample in enumerate(samples)]
    differences = tuple(_summary(metric, [draws[metric.name] for draws in found]) for metric in task.metrics if metric.name in found[0])
    items, demo = sum(len(ours) for ours, _ in samples), a.record.demo or b.record.demo
    return Comparison(task.name, split, a, b, items, demo, differences)


def _same_task(a: Run, b: Run) -> Task:
    """The task of both, built as A has it. Raises ConfigError naming what differs."""
    for what in ("task", "protocol", "quirks"):
        ours, theirs = (run.record.config.get("quirks", {}) if what == "quirks" else getattr(run.record, what) for run in (a, b))
        if ours != theirs:
            raise ConfigError(f"{a.folder} has {what} {ours}, {b.folder} {theirs}: only runs of one {what} can be compared")
    task: type[Task] = downstream.registry.load(a.record.task)
    schema = downstream_schema(task)
    values = {key: value for key, value in a.record.config.items() if key in schema.model_fields}
    config = validate(schema, values, str(a.folder / "results.json"))
    return task(config.corpus, config.head, Setting(config.protocol, config.quirks))


def _samples(a: Run, b: Run, split: str) -> list[Sample]:
    """One sample, or one for each fold of a cross-validation. Raises ConfigError where the two did not see the same."""
    ours, theirs = predictions(a, split), predictions(b, split)
    if ours.keys() != theirs.keys():
        parts = [", ".join(name for name in found if name) or "one run" for found in (ours, theirs)]
        raise ConfigError(f"{a.folder} holds {parts[0]}, {b.folder} {parts[1]}: they cannot be paired")
    for name in ours:
        _check_same_items(a, b, ours[name], theirs[name])
    return [(ours[name], theirs[name]) for name in ours]


def _check_same_items(a: Run, b: Run, ours: Sequence[Prediction], theirs: Sequence[Prediction]) -> None:
    there = {row.utt_id: row for row in theirs}
    missing, more = [row.utt_id for row in ours if row.utt_id not in there], there.keys() - {row.utt_id for row in ours}
    if missing or more:
        counts = [f"{len(ids)} only in {run.folder} ({sorted(ids)[0]} …)" for ids, run in ((missing, a), (more, b)) if ids]
        raise ConfigError(f"the two runs were tested on different items: {', '.join(counts)}; evaluate both on the same data")
    for row in ours:
        if row.reference != there[row.utt_id].reference:
            raise ConfigError(
                f"the reference of {row.utt_id} is {row.reference!r} in {a.folder} and {there[row.utt_id].reference!r} in {b.folder}; "
                "evaluate both on the same data"
            )


@dataclass(frozen=True)
class _Draws:
    """A metric of both runs, and its difference in every resample; NaN where a resample has no value."""

    a: float
    b: float
    differences: np.ndarray


def _draw(task: Task, sample: Sample, seed: int) -> dict[str, _Draws]:
    """Every metric that both have, by name."""
    ours, theirs = (task.score(rows) for rows in sample)
    drawn: dict[str, np.ndarray] = {}
    for name in ours.keys() & theirs.keys():
        one, other = ours[name].statistic, theirs[name].statistic
        if one and other:
            drawn[name] = np.concatenate([one.under(counts) - other.under(counts) for counts in _counts(one.units, seed)])
    missing = (ours.keys() & theirs.keys()) - drawn.keys()
    if missing:
        drawn |= _score_again(task, sample, missing, seed)
    return {name: _Draws(ours[name].value, theirs[name].value, differences) for name, differences in drawn.items()}


def _counts(units: int, seed: int) -> Iterator[np.ndarray]:
    """How often each unit counts in each resample, (some, units)."""
    draws, some = np.random.default_rng(seed), max(1, AT_ONCE // units)
    for start in range(0, RESAMPLES, some):
        yield draws.multinomial(units, np.full(units, 1 / units), size=min(some, RESAMPLES - start)).astype(float)


def _score_again(task: Task, sample: Sample, metrics: Collection[str], seed: int) -> dict[str, np.ndarray]:
    """The differences of metrics that are only known as what `score` makes of predictions."""
    draws, items = np.random.default_rng(seed), len(sample[0])
    found = {name: np.full(FEW_RESAMPLES, np.nan) for name in metrics}
    for place in range(FEW_RESAMPLES):
        chosen = draws.integers(0, items, items)
        try:
            ours, theirs = (task.score([rows[item] for item in chosen]) for rows in sample)
        except DataError:  # nothing that could be scored was drawn
            continue
        for name in metrics:
            found[name][place] = ours[name].value - theirs[name].value
    return found


def _summary(metric: Metric, folds: Sequence[_Draws]) -> Difference:
    """The mean over folds, or the one sample that there is."""
    a, b = fmean(fold.a for fold in folds), fmean(fold.b for fold in folds)
    drawn = np.mean([fold.differences for fold in folds], axis=0)
    drawn = drawn[np.isfinite(drawn)]
    low, high = np.percentile(drawn, [2.5, 97.5]) if len(drawn) else (a - b, a - b)
    sides = [(1 + np.count_nonzero(side)) / (1 + len(drawn)) for side in (drawn <= 0, drawn >= 0)]
    p_value = min(1.0, 2 * min(sides))
    better = "" if p_value >= LEVEL else "A" if (a > b) == metric.higher_is_better else "B"
    return Difference(metric.name, metric.unit, a, b, a - b, min(a - b, float(low)), max(a - b, float(high)), p_value, better)


def as_text(found: Comparison) -> str:
    """A table and a sentence for each metric."""
    mark = ", demo corpora (eSpeak NG voices)" if found.demo else ""
    rows = [["metric", "A", "B", "A - B", "95 % interval", "p"]]
    sentences = []
    for each in found.differences:
        a, b, difference, low, high = (number(value, each.unit) for value in (each.a, each.b, each.difference, each.low, each.high))
        rows.append([f"{each.metric} {each.unit}".strip(), a, b, difference, f"{low} to {high}", _p(each.p_value).removeprefix("= ")])
        sentences.append(f"{each.metric}: {_verdict(each)} (p {_p(each.p_value)}).")
    head = f"{found.task}, {found.split}{mark}: {found.items:,} items, paired bootstrap\nA = {found.a.folder}\nB = {found.b.folder}"
    return f"{head}\n\n{aligned(rows, left=1)}\n\n" + "\n".join(sentences) + "\n"


def as_json(found: Comparison) -> str:
    """The comparison as one object."""
    content = {
        "task": found.task, "split": found.split, "demo": found.demo, "items": found.items,
        "a": str(found.a.folder), "b": str(found.b.folder), "differences": [asdict(each) for each in found.differences],
    }  # fmt: skip
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _verdict(found: Difference) -> str:
    if not found.better:
        return "no difference is shown; what there is may well be chance"
    other = "B" if found.better == "A" else "A"
    return f"{found.better} is better than {other}"


def _p(value: float) -> str:
    """A p-value as far as resampling resolves it."""
    return f"= {value:.3f}" if value >= 0.001 else "< 0.001"
