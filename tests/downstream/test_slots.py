"""Slots in marked text and their metrics, against values computed by hand from superb_tasks.md, 6.4."""

from __future__ import annotations

import pytest

from downstream.slots import find_values, slot_type_f1, slot_value_cer
from engine.task import Prediction


def rows(*pairs: tuple[str, str]) -> list[Prediction]:
    """(hypothesis, reference) each."""
    return [Prediction(f"u{index}", hypothesis, reference) for index, (hypothesis, reference) in enumerate(pairs)]


def test_values_are_found_under_their_slots_in_order() -> None:
    text = "ADD  B-artist THE  WHO E-artist TO B-playlist MY LIST E-playlist AND B-artist ABBA E-artist"
    assert find_values(text) == {"artist": ["THE WHO", "ABBA"], "playlist": ["MY LIST"]}
    assert find_values("PLAY") == find_values("") == find_values("B-artist ABBA") == find_values("B-artist  E-artist") == {}


def test_a_value_ends_at_the_first_end_marker_of_its_name() -> None:
    assert find_values("B-a X E-b Y E-a Z E-a") == {"a": ["X E-b Y"]}
    assert find_values("B-a X B-b Y E-a Z E-b") == {"a": ["X B-b Y"]}
    assert find_values("B-playlist X E-playlist_owner") == {"playlist": ["X"]}  # as s3prl's expression has it


def test_markers_inside_a_value_are_struck_where_asked() -> None:
    assert find_values("B-a X B-b Y E-c Z E-a", nested=False) == {"a": ["X Y Z"]}
    assert find_values("B-a X B-b E-b Y E-a", nested=False) == {"a": ["X Y"]}


@pytest.mark.parametrize(
    ("hypothesis", "reference", "f1"),
    [
        ("A", "B", 100.0),  # no slot on either side
        ("B-a X E-a", "B", 0.0),
        ("A", "B-a X E-a", 0.0),
        ("B-a X E-a", "B-a Y E-a", 100.0),  # values do not matter
        ("B-a X E-a B-a Y E-a", "B-a Z E-a", 100.0),  # nor does how often
        ("B-a X E-a B-b Y E-b", "B-a X E-a", 100 * 2 * 0.5 * 1 / 1.5),
        ("B-a X E-a B-b Y E-b B-c Z E-c", "B-a X E-a B-d X E-d", 100 * 2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2)),
        ("B-b X E-b", "B-a X E-a", 0.0),
    ],
)
def test_f1_compares_the_sets_of_slots(hypothesis: str, reference: str, f1: float) -> None:
    assert slot_type_f1(rows((hypothesis, reference))).value == pytest.approx(f1)


def test_f1_is_averaged_over_utterances() -> None:
    many = "B-a X E-a B-b X E-b B-c X E-c"
    score = slot_type_f1(rows((many, many), ("A", many), ("A", "A")))
    assert score.value == pytest.approx(200 / 3)
    assert 0 <= score.low <= score.value <= score.high <= 100


def test_cer_takes_the_nearest_value_of_the_same_slot() -> None:
    reference = "B-a ABCD E-a B-a WXYZ E-a B-b PQ E-b"
    assert slot_value_cer(rows((reference, reference))).value == 0.0
    # ABCD to ABXD costs 1; WXYZ is 4 from both; b is missing: 2 of 2
    assert slot_value_cer(rows(("B-a ABXD E-a B-a ABCDEF E-a", reference))).value == pytest.approx(100 * (1 + 4 + 2) / 10)
    assert slot_value_cer(rows(("A B C", reference))).value == 100.0


def test_one_value_may_answer_several_and_extra_slots_cost_nothing() -> None:
    assert slot_value_cer(rows(("B-a AB E-a B-c NONSENSE E-c", "B-a AB E-a B-a AB E-a"))).value == 0.0


def test_cer_sums_over_utterances_and_strikes_markers_of_the_hypothesis_alone() -> None:
    score = slot_value_cer(rows(("B-a AB E-a", "B-a AB E-a"), ("B-a X B-b YZ E-a", "B-a X YZ E-a"), ("B-a Q E-a", "WORDS")))
    assert score.value == 0.0
    score = slot_value_cer(rows(("B-a ABC E-a", "B-a ABD E-a"), ("A", "B-a ABCDE E-a")))
    assert score.value == pytest.approx(100 * (1 + 5) / 8)
    assert score.low <= score.value <= score.high
