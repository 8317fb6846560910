"""The leaderboard as text."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

from report import table
from report.board import Board, build
from report.collect import collect
from report.published import load
from tests.report.make import experiment, record


def board(folder: Path) -> Board:
    experiment(folder / "ks-mine", record("ks", {"acc": 97.123}, upstream="mine|odd"))
    experiment(folder / "sid-mine", record("sid", {"acc": 75.0}, upstream="mine|odd"))
    experiment(folder / "ks-demo", record("ks", {"acc": 55.0}, upstream="tera", demo=True, preset="mini"))
    experiment(folder / "asv-small", record("asv", {"eer": 20.0, "mindcf": 0.98765}, upstream="tera", preset="mini"))
    return build(collect([folder])[0], load())


def test_markdown_has_a_section_for_each_kind_of_numbers_and_lines_up(tmp_path: Path) -> None:
    text = table.markdown(board(tmp_path), load())
    headings = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    assert [heading.split(":")[0] for heading in headings] == [
        "SUPERB", "Other recipes, or other data", "Demo corpora (eSpeak NG voices)", "What the runs cost",
    ]  # fmt: skip
    for part in re.split(r"^## .*$", text, flags=re.MULTILINE)[1:]:
        lines = [line for line in part.splitlines() if line.startswith("|")]
        assert len({len(line) for line in lines}) == 1
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def test_markdown_shows_values_units_and_what_is_not_verified(tmp_path: Path) -> None:
    text = table.markdown(board(tmp_path), load())
    assert "ks acc % ↑" in text and "asv eer % ↓" in text and "asv mindcf ↓" in text
    assert re.search(r"mine\\\|odd +\| +97\.12 \| +75\.00 \|", text)
    assert re.search(r"FBANK +\| +8\.63\* \| +8\.5e-04\* \|", text)  # not 0.00
    assert re.search(r"HuBERT Base +\| +96\.30\* \| +81\.42 \|", text)
    assert "* not verified" in text
    assert "0.9877" in text  # a fraction, four digits


def test_scores_come_with_their_tasks_and_anchors(tmp_path: Path) -> None:
    text = table.markdown(board(tmp_path), load())
    assert re.search(r"mine.* \d+\.\d \(ks sid\)", text)
    assert "Anchors, FBANK → best: ks acc 8.63 → 97.86, sid acc 0.00085 → 95.49." in text
    demo = text.split("## Demo")[1]
    assert "SUPERB score" not in demo


def test_costs_are_shown(tmp_path: Path) -> None:
    costs = table.markdown(board(tmp_path), load()).split("## What the runs cost")[1]
    assert re.search(r"ks-mine +\| mine\\\|odd +\| ks +\| +1,000 \| +60 \| +2\.00 GiB \| 0\.0001 \| 1337 \|", costs)
    assert re.search(r"ks-demo .* demo +\|", costs)


def test_intervals_are_shown_on_demand(tmp_path: Path) -> None:
    assert "97.12 [96.15, 98.09]" in table.markdown(board(tmp_path), load(), intervals=True)


def test_csv_has_one_line_a_row(tmp_path: Path) -> None:
    found = board(tmp_path)
    lines = list(csv.DictReader(io.StringIO(table.as_csv(found))))
    assert len(lines) == sum(len(section.rows) for section in found.sections)
    mine = lines[0]
    assert (mine["section"], mine["upstream"], mine["published"], mine["runs"]) == ("superb", "mine|odd", "False", "ks-mine sid-mine")
    assert (float(mine["ks acc"]), float(mine["ks acc low"]), mine["asv eer"]) == (97.123, 97.123 * 0.99, "")
    assert (mine["trained_parameters"], mine["seconds"], mine["peak_memory_bytes"]) == ("2000", "120.0", str(2**31))
    hubert = next(line for line in lines if line["upstream"] == "HuBERT Base")
    assert (hubert["published"], hubert["unverified"], hubert["seconds"]) == ("True", "ks acc", "")


def test_json_has_sources_anchors_and_runs(tmp_path: Path) -> None:
    content = json.loads(table.as_json(board(tmp_path), load()))
    superb = content["sections"][0]
    own, fbank = superb["rows"][:2]
    assert [run["name"] for run in own["runs"]] == ["ks-mine", "sid-mine"]
    assert own["runs"][0]["cost"]["trained_parameters"] == 1000
    assert own["superb_score"]["tasks"] == ["ks", "sid"]
    assert fbank["published"] and fbank["cells"][0]["source"].startswith("SUPERB") and fbank["cells"][0]["verified"] is False
    assert content["superb_score"]["anchors"]["ks"]["acc"] == {"baseline": 8.63, "best": 97.86}


def test_without_a_run_on_the_benchmark_ones_own_still_come_first(tmp_path: Path) -> None:
    experiment(tmp_path / "ks-demo", record("ks", {"acc": 55.0}, demo=True, preset="mini"))
    text = table.markdown(build(collect([tmp_path])[0], load()), load())
    assert text.index("## Demo") < text.index("## SUPERB")
    assert "No run here follows a recipe of the benchmark" in text
