"""The leaderboard as text: Markdown to read, CSV and JSON for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from report.board import SUPERB, Board, Cell, Column, Row, Section
from report.collect import Run
from report.published import Reference
from report.score import SuperbScore, explain

UNVERIFIED = "*"


def markdown(board: Board, reference: Reference, intervals: bool = False) -> str:
    """Aligned Markdown tables, one a section, and one of what every run cost.

    Args:
        intervals: the 95 % interval beside every value.
    """
    parts = [_section(section, reference, intervals) for section in board.sections]
    runs = sorted((run for section in board.sections for row in section.rows for run in row.runs), key=lambda run: run.name)
    if runs:
        parts.append("## What the runs cost\n\n" + aligned(_cost_rows(runs), left=3, last_left=True))
    return "\n\n".join(parts) + "\n"


def as_csv(board: Board) -> str:
    """One line a row of every section, each value with its interval; the cost is that of all runs of the row."""
    columns = list(dict.fromkeys(column for section in board.sections for column in section.columns))
    header = ["section", "upstream", "published", "notes", "runs", "superb_score", "score_tasks"]
    header += ["trained_parameters", "seconds", "peak_memory_bytes", "unverified"]
    header += [title for column in columns for title in (_name(column), f"{_name(column)} low", f"{_name(column)} high")]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    for section in board.sections:
        for row in section.rows:
            values = [figure for column in columns for figure in _figures(row.cells.get(column))]
            writer.writerow([section.name, *_csv_fields(row), *values])
    return out.getvalue()


def as_json(board: Board, reference: Reference) -> str:
    """Everything, with the sources of published numbers and the anchors of the SUPERB score."""
    anchors = {
        task: {metric: {"baseline": anchor.baseline, "best": anchor.best} for metric, anchor in metrics.items()}
        for task, metrics in reference.anchors.items()
    }
    content = {
        "schema": 1,
        "sections": [_section_object(section) for section in board.sections],
        "superb_score": {"baseline": reference.baseline, "anchors": anchors, "notes": reference.notes},
        "left_out": list(board.left_out),
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _section(section: Section, reference: Reference, intervals: bool) -> str:
    scores = [row.score for row in section.rows if row.score]
    own = [row for row in section.rows if not row.is_published]
    header = ["upstream", *map(_title, section.columns)]
    header += ["SUPERB score"] * bool(scores) + ["notes"]
    lines = [header]
    for row in section.rows:
        cells = [_text(row.cells.get(column), column, intervals) for column in section.columns]
        lines.append([row.upstream, *cells, *([_score(row.score)] if scores else []), _notes(row)])
    text = f"## {section.title}\n\n"
    if section.name == SUPERB and not own:
        text += "No run here follows a recipe of the benchmark on its data; the published numbers of the same tasks:\n\n"
    text += aligned(lines, left=1, last_left=True)
    return text + "".join(f"\n\n{note}" for note in _footnotes(section, scores, reference))


def _footnotes(section: Section, scores: Sequence[SuperbScore], reference: Reference) -> list[str]:
    notes = []
    if any(row.is_published for row in section.rows):
        sources = dict.fromkeys(cell.source for row in section.rows for cell in row.cells.values() if cell.source)
        notes.append(f"Published: {'; '.join(sources)}.")
    if any(not cell.verified for row in section.rows for cell in row.cells.values()):
        notes.append(f"{UNVERIFIED} not verified: written down from memory of the source, and no second one was found.")
    if scores:
        tasks = [task for task in reference.anchors if any(task in score.tasks for score in scores)]
        notes += [explain(reference.anchors, tasks, reference.baseline), reference.notes]
    return notes


def _title(column: Column) -> str:
    """Task, metric, unit, and which way is better."""
    return " ".join(filter(None, [_name(column), column.unit, "↑" if column.higher_is_better else "↓"]))


def _name(column: Column) -> str:
    return f"{column.task} {column.metric}" + (f" ({column.part})" if column.part else "")


def _text(cell: Cell | None, column: Column, intervals: bool) -> str:
    if cell is None:
        return "–"
    mark = "" if cell.verified else UNVERIFIED
    text = number(cell.value, column.unit) + mark
    if intervals and cell.low is not None and cell.high is not None:
        text += f" [{number(cell.low, column.unit)}, {number(cell.high, column.unit)}]"
    return text


def number(value: float, unit: str) -> str:
    """Two digits of a percentage, four of a fraction, as `-m evaluate` prints them; more where these would say nothing."""
    text = f"{value:.2f}" if unit == "%" else f"{value:.4f}"
    return f"{value:.1e}" if value and not float(text) else text


def _score(score: SuperbScore | None) -> str:
    return f"{score.value:.1f} ({' '.join(score.tasks)})" if score else "–"


def _notes(row: Row) -> str:
    return "; ".join(["published"] * row.is_published + list(row.notes))


def _cost_rows(runs: Sequence[Run]) -> list[list[str]]:
    rows = [["run", "upstream", "task", "trained parameters", "seconds", "peak memory", "lr", "seed", "data"]]
    for run in runs:
        record, cost = run.record, run.record.cost
        rate = (record.config.get("optimizer") or {}).get("lr")
        rows.append(
            [
                run.name, record.upstream, record.task, f"{cost.trained_parameters:,}", f"{cost.seconds:,.0f}",
                f"{cost.peak_memory_bytes / 2**30:.2f} GiB", "–" if rate is None else f"{rate:g}",
                "–" if record.seed is None else str(record.seed), "demo" if record.demo else "",
            ]
        )  # fmt: skip
    return rows


def aligned(rows: Sequence[Sequence[str]], left: int, last_left: bool = False) -> str:
    """A Markdown table whose columns line up; the first `left` ones, and the last where so asked, begin at the left."""
    rows = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    is_left = [place < left or (last_left and place == len(widths) - 1) for place in range(len(widths))]
    rule = ["-" * width if keep else "-" * (width - 1) + ":" for width, keep in zip(widths, is_left, strict=True)]
    padded = [[cell.ljust(w) if keep else cell.rjust(w) for cell, w, keep in zip(row, widths, is_left, strict=True)] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [padded[0], rule, *padded[1:]])


def _csv_fields(row: Row) -> list[Any]:
    """What stands before the values, in the order of the header."""
    score = [f"{row.score.value:.2f}", " ".join(row.score.tasks)] if row.score else ["", ""]
    costs = [run.record.cost for run in row.runs]
    cost: list[Any] = ["", "", ""]
    if costs:
        seconds = sum(each.seconds for each in costs)
        cost = [sum(each.trained_parameters for each in costs), f"{seconds:.1f}", max(each.peak_memory_bytes for each in costs)]
    unverified = "; ".join(_name(column) for column, cell in row.cells.items() if not cell.verified)
    return [row.upstream, row.is_published, "; ".join(row.notes), " ".join(run.name for run in row.runs), *score, *cost, unverified]


def _figures(cell: Cell | None) -> list[Any]:
    """Value, low and high for CSV, empty where there is none."""
    return ["" if figure is None else figure for figure in (cell.value, cell.low, cell.high)] if cell else ["", "", ""]


def _section_object(section: Section) -> dict[str, Any]:
    columns = [
        {
            "task": column.task, "metric": column.metric, "part": column.part, "unit": column.unit,
            "higher_is_better": column.higher_is_better,
        }
        for column in section.columns
    ]  # fmt: skip
    return {"name": section.name, "title": section.title, "columns": columns, "rows": [_row_object(row) for row in section.rows]}


def _row_object(row: Row) -> dict[str, Any]:
    cells = [
        {"task": column.task, "metric": column.metric, "part": column.part, "value": cell.value}
        | ({"verified": cell.verified, "source": cell.source} if row.is_published else {"low": cell.low, "high": cell.high})
        for column, cell in row.cells.items()
    ]
    runs = [
        {
            "name": run.name,
            "folder": str(run.folder),
            "task": run.record.task,
            "seed": run.record.seed,
            "cost": run.record.cost.model_dump(),
        }
        for run in row.runs
    ]
    score = {"value": row.score.value, "tasks": list(row.score.tasks)} if row.score else None
    return {
        "upstream": row.upstream, "published": row.is_published, "notes": list(row.notes), "superb_score": score,
        "cells": cells, "runs": runs,
    }  # fmt: skip
