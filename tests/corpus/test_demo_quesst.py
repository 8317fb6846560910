"""The miniature QUESST 2014: layout, ground truth, voices apart, and the same bytes every time."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path

import pytest

from corpus import quesst as reader
from corpus.demo import voices
from corpus.demo.editions import quesst
from corpus.locate import locate
from tests.corpus.test_demo import contents

pytestmark = pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None, reason="eSpeak NG is not installed")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quesst.make(tmp_path_factory.mktemp("cache"), quesst.TINY)


@pytest.mark.parametrize("split, folder", [("dev", quesst.DEV), ("test", quesst.EVAL)])
def test_the_reader_finds_each_query_where_it_is_said(tiny: Path, split: str, folder: str) -> None:
    said = {Path(one.path).stem: one.text for utterances in quesst.plan(quesst.TINY).values() for one in utterances}
    queries, documents = reader.sides(reader.read(locate(reader.SOURCE, tiny), split))
    assert len(queries) == quesst.TINY.queries and len(documents) == quesst.TINY.documents
    assert queries == {query: {name for name in documents if f" {said[query]} " in f" {said[name]} "} for query in queries}
    assert all(queries.values())


def test_ground_truth_tells_when_a_query_is_said(tiny: Path) -> None:
    cuts = reader.read(tiny / quesst.FOLDER, "dev")
    lines = (tiny / quesst.FOLDER / "scoring/groundtruth_quesst14_dev/quesst14_dev.rttm").read_text().splitlines()
    assert len(lines) == 2 * quesst.TINY.queries
    for line in lines:
        _, document, _, begin, seconds, *_ = line.split()
        assert 0.1 <= float(begin) < float(begin) + float(seconds) <= cuts[document].duration and float(seconds) > 0.2


def test_two_makes_are_equal_byte_for_byte(tiny: Path, tmp_path: Path) -> None:
    assert contents(quesst.make(tmp_path, quesst.TINY)) == contents(tiny)


def test_queries_occur_as_often_as_planned_and_no_voice_is_on_two_sides() -> None:
    plan = quesst.plan()
    assert {folder: len(utterances) for folder, utterances in plan.items()} == {"Audio": 150, "dev_queries": 20, "eval_queries": 20}
    least, most = quesst.SIZE.occurrences
    for query in plan[quesst.DEV] + plan[quesst.EVAL]:
        assert least - 1 <= sum(query.text in document.text for document in plan[quesst.DOCUMENTS]) <= most
    spoken = [{one.voice.split("+")[1] for one in utterances} for utterances in plan.values()]
    training = {voice.variant for voice in voices.group("train")}
    assert not any(count > 1 for count in Counter(voice for side in [*spoken, training] for voice in side).values())
    assert len({query.text for query in plan[quesst.DEV] + plan[quesst.EVAL]}) == 40
