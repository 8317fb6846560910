"""The leaderboard as data: which runs stand in which section, in which row, with which marks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import PurePath
from typing import Any

from engine.config import CONFIGS, downstream_schema, resolve
from engine.sweep import Sweep
from engine.task import HeadTask, Task
from report.collect import Entry, Run, lone_variant, task_of, test_split
from report.published import Measure, Number, Reference
from report.score import SuperbScore, superb_score

SUPERB, OTHER, DEMO = "superb", "other", "demo"
TITLES = {
    SUPERB: "SUPERB: the benchmark's recipes on its data",
    OTHER: "Other recipes, or other data: not comparable with the published numbers",
    DEMO: "Demo corpora (eSpeak NG voices): not comparable with numbers on people's speech",
}

FREE = (
    "corpus.root", "corpus.demo", "corpus.manifests", "optimizer.lr", "protocol", "quirks", "store",
    "runner.gradient_accumulate_steps", "runner.log_step", "runner.max_keep", "runner.eval_batch_seconds", "runner.prefetch",
    "runner.patience",
)  # fmt: skip
"""What a run may set without leaving its recipe: SUPERB lets the learning rate be searched, several processes share the steps of
accumulation, the others change no number. The protocol and its quirks have marks of their own."""

SHOWN = 3
"""Changed keys named in a mark, at most."""


@dataclass(frozen=True)
class Column:
    """A metric of a task; `part` names a second result on the same split, such as ASV's `dev-selected`."""

    task: str
    metric: str
    part: str = ""
    unit: str = field(default="", compare=False)
    higher_is_better: bool = field(default=False, compare=False)

    @property
    def measure(self) -> Measure:
        return self.task, self.metric


@dataclass(frozen=True)
class Cell:
    """A value in the table. Published ones have no interval; `source` is theirs."""

    value: float
    low: float | None = None
    high: float | None = None
    verified: bool = True
    source: str = ""


@dataclass(frozen=True)
class Row:
    """One upstream under one set of conditions, over the tasks that it was run on."""

    upstream: str
    cells: Mapping[Column, Cell]
    notes: tuple[str, ...] = ()
    runs: tuple[Run, ...] = ()
    score: SuperbScore | None = None

    @property
    def is_published(self) -> bool:
        return not self.runs


@dataclass(frozen=True)
class Section:
    """Rows that may be compared with each other."""

    name: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        return TITLES[self.name]


@dataclass(frozen=True)
class Board:
    """Sections, in order, and what was left out of them, one message each."""

    sections: tuple[Section, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class _Conditions:
    """What the runs of one row have in common."""

    section: str
    upstream: str
    checkpoint: str
    fingerprint: str
    notes: tuple[str, ...]
    scored: bool


@dataclass(frozen=True)
class _Placed:
    """A run, its conditions, the entries of its test split by part, and what is special about it alone."""

    run: Run
    conditions: _Conditions
    entries: Mapping[str, Entry]
    notes: tuple[str, ...]


def build(runs: Iterable[Run], reference: Reference, published: bool = True) -> Board:
    """Sort runs into sections and rows; published numbers, for the tasks that were run, stand below one's own."""
    placed, left_out = [], []
    for run in runs:
        entries = _entries(run)
        if entries:
            placed.append(_place(run, entries, reference))
        else:
            found = ", ".join(run.record.splits) or "nothing"
            left_out.append(
                f"{run.name} has no result of split {test_split(run)} yet ({found} alone); "
                f"evaluate it: python run_downstream.py -m evaluate -e {run.folder}"
            )
    sections = []
    for name in (SUPERB, OTHER, DEMO):
        inside = [each for each in placed if each.conditions.section == name]
        rows = _rows(inside, reference)
        if name == SUPERB and published:
            rows += _published_rows(_columns(inside or placed, reference), reference)
        columns = [column for column in _columns(placed, reference) if any(column in row.cells for row in rows)]
        if rows:
            sections.append(Section(name, tuple(columns), tuple(rows)))
    sections.sort(key=lambda section: all(row.is_published for row in section.rows))  # one's own first
    return Board(tuple(sections), tuple(left_out))


def _entries(run: Run) -> dict[str, Entry]:
    """The results on the test split: under "" the one that counts, under other names further ones (`test-dev-selected`)."""
    split = test_split(run)
    return {name[len(split) + 1 :]: entry for name, entry in run.record.splits.items() if name == split or name.startswith(f"{split}-")}


def _place(run: Run, entries: Mapping[str, Entry], reference: Reference) -> _Placed:
    record = run.record
    demo = record.demo or any(entry.demo for entry in entries.values())
    views, corrections, departures = _views(run), _corrections(run), _departures(run, entries, demo, reference)
    comparable = not views and not departures and record.preset in ("superb", "custom")
    section = DEMO if demo else SUPERB if comparable else OTHER
    common = ["demo"] * demo + [f"preset {record.preset}"] * (record.preset != "superb") + [*views, *corrections]
    if record.arguments.get("padding") == "reference":
        common.append("padding: reference")
    if "" in entries and entries[""].selection == "test":
        departures.append("checkpoint chosen on test, as SUPERB does")
    departures += task.card.departures if (task := task_of(run)) else ()
    conditions = _Conditions(
        section,
        record.upstream,
        _checkpoint(record.arguments.get("upstream_ckpt")),
        str(record.fingerprints.get("upstream", "")),
        tuple(common),
        scored=section == SUPERB and not corrections,
    )
    return _Placed(run, conditions, entries, tuple(f"{record.task}: {note}" for note in departures))


def _checkpoint(given: str | None) -> str:
    """A checkpoint's short name: the last part of a path that says something, a shipped or a hub name as it is."""
    if not given or not PurePath(given).is_absolute():
        return given or ""
    path = PurePath(given)
    return path.parent.name if path.name == "model.safetensors" else path.name


def _views(run: Run) -> list[str]:
    """How the head saw the encoder, where that is not the frozen weighted sum of all hidden states."""
    arguments, notes = run.record.arguments, []
    if arguments.get("upstream_trainable"):
        notes.append("upstream trained too")
    if run.sweep and run.sweep.kind == "layers":
        notes.append("best layer on dev")
    elif run.sweep and run.sweep.kind == "rates":
        notes += _of_heads(run.sweep)
    elif arguments.get("upstream_feature_selection") == "last_hidden_state":
        notes.append("last hidden state alone")
    elif arguments.get("upstream_layer_selection") is not None:
        notes.append(f"layer {arguments['upstream_layer_selection']} alone")
    if arguments.get("upstream_feature_normalize"):
        notes.append("hidden states normalized")
    return notes


def _of_heads(found: Sweep) -> list[str]:
    """What a sweep over learning rates and seeds reports."""
    notes, rates = [], sorted(set(found.rates))
    if len(found.chosen) > 1:
        notes.append(f"mean of {len(found.chosen)} seeds")
    if len(rates) > 1:
        best = next((rate for name, rate in zip(found.members, found.rates, strict=True) if name in found.chosen), None)
        notes.append(f"learning rate {best:g}, the best of {len(rates)} on dev" if best else f"{len(rates)} learning rates")
    return notes


def _corrections(run: Run) -> list[str]:
    """Where a run leaves the published protocol on purpose."""
    kept = run.record.protocol == "superb"
    quirks: Mapping[str, bool] = run.record.config.get("quirks") or {}
    other = sorted(name for name, keeps in quirks.items() if keeps != kept)
    notes = [] if kept else [f"{run.record.protocol} protocol"]
    return [*notes, f"{'without' if kept else 'with'} {', '.join(other)}"] if other else notes


def _departures(run: Run, entries: Mapping[str, Entry], demo: bool, reference: Reference) -> list[str]:
    """What this run alone did otherwise than its recipe says, in its data or its configuration."""
    config, task, departures = run.record.config, task_of(run), []
    whole = reference.test_size.get(run.record.task)
    if config.get("corpus", {}).get("manifests"):
        departures.append("own data")
    elif fold := lone_variant(run):
        departures.append(f"{fold} alone")
    elif whole and not demo and "" in entries and entries[""].utterances != whole:
        departures.append(f"{entries[''].utterances:,} of {whole:,} test items")
    if task and (changed := _changed(config, task, run.record.preset)):
        more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
        departures.append(f"changed {', '.join(changed[:SHOWN])}{more}")
    return departures


def _changed(config: Mapping[str, Any], task: type[Task], preset: str) -> list[str]:
    """Keys in which a run's configuration differs from the recipe of its preset, but for those that a run may set."""
    free = [*FREE, f"corpus.{task.variant_key}"] if issubclass(task, HeadTask) and task.variant_key else [*FREE]
    found = _differences(_recipe(task, "mini" if preset == "mini" else "superb"), config)
    return [key for key in found if not any(key == each or key.startswith(f"{each}.") for each in free)]


@cache
def _recipe(task: type[Task], preset: str) -> dict[str, Any]:
    path = (task.recipes or CONFIGS / "downstream") / preset / f"{task.name}.yaml"
    return resolve(downstream_schema(task), path, None).model_dump(mode="json")


def _differences(recipe: Mapping[str, Any], found: Mapping[str, Any], above: str = "") -> list[str]:
    """Dotted keys whose values differ; what only one side knows belongs to another version and is passed over."""
    differing = []
    for key in recipe.keys() & found.keys():
        here, there = recipe[key], found[key]
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            differing += _differences(here, there, f"{above}{key}.")
        elif here != there:
            differing.append(above + key)
    return sorted(differing)


def _columns(placed: Sequence[_Placed], reference: Reference) -> list[Column]:
    """One column for each metric that a run has, tasks in the order of the papers."""
    found: dict[Column, None] = {}
    for each in placed:
        for part, entry in sorted(each.entries.items()):
            for name, value in entry.metrics.items():
                found[Column(each.run.record.task, name, part, value.unit, value.higher_is_better)] = None
    order = {task: place for place, task in enumerate(reference.tasks)}
    return sorted(found, key=lambda column: (order.get(column.task, len(order)), column.task, column.part))


def _rows(placed: Sequence[_Placed], reference: Reference) -> list[Row]:
    """One row for each set of conditions; runs of one task under the same conditions have rows of their own."""
    groups: dict[_Conditions, list[_Placed]] = {}
    for each in placed:
        groups.setdefault(each.conditions, []).append(each)
    labels = _labels(groups)
    rows = []
    for conditions, members in groups.items():
        tasks = [each.run.record.task for each in members]
        shared = [each for each in members if tasks.count(each.run.record.task) == 1]
        if shared:
            rows.append(_row(labels[conditions], conditions, shared, reference))
        rows += [_row(f"{labels[conditions]}: {each.run.name}", conditions, [each], reference) for each in members if each not in shared]
    return sorted(rows, key=lambda row: row.upstream)


def _labels(groups: Iterable[_Conditions]) -> dict[_Conditions, str]:
    """What each row is called: its upstream, its checkpoint, and its weights' fingerprint where these alone tell two apart."""
    plain = {each: f"{each.upstream} ({each.checkpoint})" if each.checkpoint else each.upstream for each in groups}
    weights: dict[str, set[str]] = {}
    for each, label in plain.items():
        weights.setdefault(label, set()).add(each.fingerprint)
    return {each: f"{label} [{each.fingerprint[:8]}]" if len(weights[label]) > 1 else label for each, label in plain.items()}


def _row(label: str, conditions: _Conditions, placed: Sequence[_Placed], reference: Reference) -> Row:
    cells = {
        Column(each.run.record.task, name, part): Cell(value.value, value.low, value.high)
        for each in placed
        for part, entry in each.entries.items()
        for name, value in entry.metrics.items()
    }
    notes = dict.fromkeys([*conditions.notes, *(note for each in placed for note in each.notes)])
    score = superb_score(_values(cells), reference.anchors) if conditions.scored else None
    return Row(label, cells, tuple(notes), tuple(each.run for each in placed), score)


def _published_rows(columns: Sequence[Column], reference: Reference) -> list[Row]:
    rows = []
    for upstream, numbers in reference.rows.items():
        cells = {column: _published_cell(numbers[column.measure]) for column in columns if not column.part and column.measure in numbers}
        if cells:
            rows.append(Row(upstream, cells, score=superb_score(_values(cells), reference.anchors)))
    return rows


def _published_cell(number: Number) -> Cell:
    return Cell(number.value, verified=number.verified, source=number.source)


def _values(cells: Mapping[Column, Cell]) -> dict[Measure, float]:
    return {column.measure: cell.value for column, cell in cells.items() if not column.part and math.isfinite(cell.value)}
