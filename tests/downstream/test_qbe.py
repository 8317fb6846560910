"""QbE: what is read, found and scored, without an encoder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from lhotse import CutSet
from torch import Tensor

from corpus.errors import DataError
from downstream.qbe import TASK, WHOLE_EVALUATION, QbE
from engine.task import Prediction, Setting
from tests.corpus.make import write_tone
from tests.corpus.test_quesst import make as quesst


def task(root: Path | None = None, protocol: str = "superb", **head: float | str) -> QbE:
    return QbE(QbE.Corpus(root=root), QbE.Head(**head), Setting(protocol))  # type: ignore[arg-type]


def features(cuts: CutSet) -> dict[str, Tensor]:
    """Noise in which each query is repeated in the documents that hold it."""
    generator = torch.Generator().manual_seed(0)
    found = {cut.id: torch.randn(12 if cut.supervisions[0].custom["kind"] == "query" else 60, 8, generator=generator) for cut in cuts}
    for cut in cuts:
        for place, document in enumerate(cut.supervisions[0].custom.get("documents", "").split()):
            found[document][3 + place : 15 + place] = found[cut.id]
    return found


def rows(values: dict[str, float], *true: str, **size: float) -> list[Prediction]:
    return [
        Prediction(pair, "YES" if score > 2 else "NO", "YES" if pair in true else "NO", {"score": score, **size})
        for pair, score in values.items()
    ]


def test_declaration_is_that_of_the_benchmark() -> None:
    assert TASK is QbE and QbE.name == "qbe" and QbE.splits == ("dev", "test")
    assert [(metric.name, metric.unit, metric.higher_is_better) for metric in QbE.metrics] == [("mtwv", "", True)]
    assert (QbE.dev_split, QbE.test_split, WHOLE_EVALUATION in QbE.quirks) == ("dev", "test", True)
    assert QbE.Head() == QbE.Head(distance="cosine_exp", threshold=2.0, target_prior=0.0008, miss_cost=100, false_alarm_cost=1)


@pytest.mark.parametrize("split, part", [("dev", "dev"), ("test", "eval")])
def test_queries_are_found_in_the_documents_that_hold_them(tmp_path: Path, split: str, part: str) -> None:
    made = task(quesst(tmp_path))
    cuts = made.cuts(split)
    found = made.search(split, cuts, features(cuts))
    assert [row.utt_id for row in found[:2]] == [f"quesst14_{part}_0001__quesst14_{number:05}" for number in (1, 2)]
    assert len(found) == 2 * 6
    held = {row.utt_id for row in found if row.reference == "YES"}
    assert held == {f"quesst14_{part}_{query}__quesst14_{document}" for query, document in (("0001", "00001"), ("0002", "00003"))}
    assert {row.utt_id for row in found if row.prediction == "YES"} == held
    assert made.score(found)["mtwv"].value == 1.0


def test_scores_of_a_query_are_standardised_over_documents(tmp_path: Path) -> None:
    made = task(quesst(tmp_path), threshold=0.0)
    cuts = made.cuts("dev")
    found = made.search("dev", cuts, features(cuts))
    scores = torch.tensor([row.scores["score"] for row in found]).view(2, 6)
    assert scores.mean(1).tolist() == pytest.approx([0, 0], abs=1e-3)
    assert scores.std(1, correction=0).tolist() == pytest.approx([1, 1], abs=1e-3)
    assert [row.prediction == "YES" for row in found] == [row.scores["score"] > 0 for row in found]


def test_value_follows_from_saved_predictions() -> None:
    values = {"q1__a": 3.0, "q1__b": 1.0, "q1__c": 0.0, "q2__a": 0.0, "q2__b": 3.5, "q2__c": 3.2}
    predictions = rows(values, "q1__a", "q2__b")
    assert task().score(predictions)["mtwv"].value == pytest.approx(0.5)  # at 3.5: one of two queries, no false alarm
    assert task(target_prior=0.5, miss_cost=1).score(predictions)["mtwv"].value == pytest.approx((2 - 0.5) / 2)  # at 3: both, and one


def test_published_scoring_counts_the_languages_that_are_not_searched(tmp_path: Path) -> None:
    """Of two languages with as many queries and documents one is searched, and without an error: half of the queries are missed."""
    root = quesst(tmp_path, languages=("nnenglish", "czech"))
    superb, corrected = task(root), task(root, "corrected")
    cuts = superb.cuts("test")
    found, alone = (made.search("test", cuts, features(cuts)) for made in (superb, corrected))
    assert found[0].scores.keys() == {"score", "queries", "documents"} and alone[0].scores.keys() == {"score"}
    assert (found[0].scores["queries"], found[0].scores["documents"]) == (4, 12)
    assert superb.score(found)["mtwv"].value == pytest.approx(0.5)
    assert corrected.score(alone)["mtwv"].value == pytest.approx(1.0)
    assert [row.scores["score"] for row in found] == [row.scores["score"] for row in alone]


def test_a_false_alarm_weighs_less_among_more_documents() -> None:
    values = {"q__a": 3.0, "q__b": 4.0, "q__c": 0.0}
    assert task().score(rows(values, "q__a"))["mtwv"].value == 0.0
    assert task().score(rows(values, "q__a", queries=1, documents=1250))["mtwv"].value == pytest.approx(1 - 12.49 / 1249)


def manifest(folder: Path, *lines: dict[str, str]) -> QbE:
    for line in lines:
        write_tone(folder / line["path"], 0.2)
    (folder / "own.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return QbE(QbE.Corpus(manifests={"dev": folder / "own.jsonl"}), QbE.Head())


def test_own_data_is_searched_without_a_folder(tmp_path: Path) -> None:
    made = manifest(
        tmp_path,
        {"path": "q.wav", "kind": "query", "documents": "a b"},
        {"path": "a.wav", "kind": "document"},
        {"path": "b.wav", "kind": "document"},
        {"path": "c.wav", "kind": "document"},
    )
    cuts = made.cuts("dev")
    found = made.search("dev", cuts, features(cuts))
    assert [(row.utt_id, row.reference, len(row.scores)) for row in found] == [("q__a", "YES", 1), ("q__b", "YES", 1), ("q__c", "NO", 1)]
    assert made.score(found)["mtwv"].value == 1.0


@pytest.mark.parametrize(
    "lines, message",
    [
        ([{"path": "q.wav"}], "line 1: no kind"),
        ([{"path": "q.wav", "kind": "question"}], "'query' or 'document', not 'question'"),
        ([{"path": "q.wav", "kind": "query"}], "1 queries and 0 documents"),
        ([{"path": "q.wav", "kind": "query", "documents": "x"}, {"path": "a.wav", "kind": "document"}], "occur in x, which is no document"),
        ([{"path": "q__1.wav", "kind": "query"}, {"path": "a.wav", "kind": "document"}], "q__1 contains '__'"),
    ],
)
def test_own_data_that_cannot_be_searched_is_named(tmp_path: Path, lines: list[dict[str, str]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        manifest(tmp_path, *lines).cuts("dev")
