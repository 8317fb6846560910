"""Diarization: head, permutation-invariant loss, frame labels, turns, and the error rate against values computed by hand."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.signal import medfilt

from downstream.diarization import (
    SETTINGS,
    Errors,
    Mixture,
    RecurrentDiarizer,
    Smoothing,
    Turn,
    best_smoothing,
    correct_cells,
    diarization_errors,
    find_turns,
    frame_labels,
    matching_frames,
    permutation_invariant_loss,
    read_turns,
    write_turns,
)


def test_the_head_looks_back_only_and_padding_does_not_matter() -> None:
    torch.manual_seed(0)
    features, lengths = torch.randn(2, 11, 6), torch.tensor([11, 7])
    head = RecurrentDiarizer(6, hidden=5, layers=1)
    logits, kept = head(features, lengths)
    assert logits.shape == (2, 11, 2) and kept is lengths
    torch.testing.assert_close(head(features[1:, :7], lengths[1:])[0], logits[1:, :7])
    changed = features.clone()
    changed[:, 5:] = 0
    torch.testing.assert_close(head(changed, lengths)[0][:, :5], logits[:, :5])


def test_pooling_averages_valid_frames_and_repeats_what_comes_out() -> None:
    torch.manual_seed(0)
    features, lengths = torch.randn(2, 8, 6), torch.tensor([8, 4])
    pooled, plain = RecurrentDiarizer(6, hidden=5, layers=1, pooling=3), RecurrentDiarizer(6, hidden=5, layers=1)
    plain.load_state_dict(pooled.state_dict())
    logits, _ = pooled(features, lengths)
    means = torch.stack([features[1, :3].mean(0), features[1, 3]])[None]
    few, _ = plain(means, torch.tensor([2]))
    torch.testing.assert_close(logits[1, :6], few[0].repeat_interleave(3, 0))
    assert logits.shape == (2, 8, 2)


def naive_loss(logits: np.ndarray, labels: list[np.ndarray]) -> float:
    """Sum over frames of the mean over speakers, the lower of the two orders, by all frames."""
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        row = row[: len(label)]
        orders = [label, label[:, ::-1]]
        total += min(sum(np.logaddexp(0, -z if y else z) for z, y in zip(row.ravel(), order.ravel(), strict=True)) / 2 for order in orders)
    return total / sum(map(len, labels))


def test_the_loss_is_that_of_the_better_order_and_does_not_see_padding() -> None:
    draws = np.random.default_rng(0)
    logits, labels = draws.normal(size=(3, 9, 2)), [draws.integers(0, 2, (frames, 2)).astype(np.float32) for frames in (9, 4, 7)]
    output = (torch.tensor(logits), torch.tensor([9, 4, 7]))
    assert float(permutation_invariant_loss(output, labels)) == pytest.approx(naive_loss(logits, labels), rel=1e-5)
    swapped = [labels[0][:, ::-1], labels[1], labels[2][:, ::-1]]
    assert float(permutation_invariant_loss(output, swapped)) == pytest.approx(naive_loss(logits, labels), rel=1e-5)


def test_outputs_that_end_early_go_on_with_the_last_one() -> None:
    """One frame fewer than labels, as encoders with a stride of 320 give: superb_tasks.md 9.2."""
    logits = torch.randn(1, 5, 2)
    label = np.ones((6, 2), np.float32)
    longer = (torch.cat([logits, logits[:, 4:]], 1), torch.tensor([6]))
    assert permutation_invariant_loss((logits, torch.tensor([5])), [label]) == permutation_invariant_loss(longer, [label])


@pytest.mark.parametrize(
    ("available", "wanted", "expected"),
    [
        (4, 4, [0, 1, 2, 3]),
        (4, 3, [0, 1, 2]),
        (3, 4, [0, 1, 2, 2]),
        (2, 4, [0, 0, 1, 1]),
        (2, 5, [0, 0, 1, 1, 1]),
        (3, 10, [0, 0, 0, 1, 1, 1, 2, 2, 2, 2]),
    ],
)
def test_frames_are_matched_by_repeating_and_cutting(available: int, wanted: int, expected: list[int]) -> None:
    """2 to 5: 2.5 is rounded to 2, as Python rounds."""
    assert matching_frames(available, wanted).tolist() == expected


def test_labels_are_rounded_to_frames_and_speakers_sorted() -> None:
    labels = frame_labels([Turn("b", 0.012, 0.04), Turn("a", 0.026, 0.055)], 6, 160)
    assert labels.T.tolist() == [[0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 0, 0]]
    assert labels.dtype == np.float32
    assert frame_labels([Turn("a", 0.02, 0.06)], 3, 320).T.tolist() == [[0, 1, 1], [0, 0, 0]]


def test_a_turn_beyond_both_ends_of_a_chunk_is_labelled_where_wanted() -> None:
    """superb_tasks.md 9.1: the benchmark leaves it out; one that begins or ends at the edge it labels."""
    turns = [Turn("a", -1.0, 1.0), Turn("b", 0.0, 1.0), Turn("b", -2.0, -1.0)]
    assert frame_labels(turns, 4, 160, spanning=True).T.tolist() == [[1] * 4, [1] * 4]
    assert frame_labels(turns, 4, 160, spanning=False).T.tolist() == [[0] * 4, [1] * 4]
    for turn in (Turn("a", -1.0, 0.04), Turn("a", -1.0, 0.02), Turn("a", 0.02, 1.0)):
        assert frame_labels([turn], 4, 160, spanning=False).sum() == frame_labels([turn], 4, 160).sum() > 0


def test_a_third_speaker_is_refused() -> None:
    with pytest.raises(ValueError, match=r"3 speakers \(a, b, c\)"):
        frame_labels([Turn(name, 0, 1) for name in "cab"], 10, 160)


def test_turns_are_written_in_order_of_time_and_read_again() -> None:
    turns = [Turn("26", 0.8, 2.1), Turn("19", 0, 1.25)]
    assert write_turns(turns) == "19 0.000-1.250; 26 0.800-2.100"
    assert read_turns(write_turns(turns)) == sorted(turns, key=lambda turn: turn.start)
    assert read_turns("") == [] and write_turns([]) == ""


@pytest.mark.parametrize("text", ["A", "A 1", "1-2", "A 2-1", "A x-1", "A 0-inf", "A 0.5-0.5"])
def test_what_is_no_turn_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no turn|could not convert"):
        read_turns(f"B 0-1; {text}")


def test_turns_are_the_stretches_above_the_threshold() -> None:
    probabilities = np.array([[0.9, 0.1], [0.6, 0.5], [0.2, 0.7], [0.8, 0.7]])
    assert write_turns(find_turns(probabilities, Smoothing(0.5, 1), 160)) == "1 0.000-0.020; 2 0.020-0.040; 1 0.030-0.040"
    assert write_turns(find_turns(probabilities, Smoothing(0.3, 1), 320)) == "1 0.000-0.040; 2 0.020-0.080; 1 0.060-0.080"


def test_the_median_filter_is_scipys() -> None:
    draws = np.random.default_rng(0)
    for frames in (11, 12, 200):
        probabilities = draws.random((frames, 2))
        filtered = medfilt((probabilities > 0.4).astype(float), (11, 1))
        assert find_turns(probabilities, Smoothing(0.4, 11), 160) == find_turns(filtered, Smoothing(0.5, 1), 160)


def errors(reference: str, hypothesis: str, collar: float = 0.0) -> Errors:
    return diarization_errors(read_turns(reference), read_turns(hypothesis), collar)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("A 0-6; B 4-10", "2 0-6; 1 4-10", Errors(0, 0, 0, 12)),  # other names
        ("A 0-10", "1 2-12", Errors(2, 2, 0, 10)),
        ("A 0-5; B 5-10", "1 0-10", Errors(0, 0, 5, 10)),
        ("A 0-6; B 4-10", "1 0-5; 2 5-10", Errors(2, 0, 0, 12)),  # overlap heard as one voice
        ("A 0-10", "1 0-10; 2 3-5", Errors(0, 2, 0, 10)),  # one voice heard as overlap
        ("A 0-10", "1 0-6; 2 6-10", Errors(0, 0, 4, 10)),
        ("A 0-6; B 6-10", "1 0-3; 2 3-10", Errors(0, 0, 3, 10)),
        ("A 0-4; B 2-6", "1 0-2; 2 2-4; 1 4-6", Errors(2, 0, 2, 8)),  # A-1 and B-2, or A-2 and B-1: 4 s correct
        ("A 0-4; B 2-6", "", Errors(8, 0, 0, 8)),
        ("", "1 0-4", Errors(0, 4, 0, 0)),
        ("", "", Errors(0, 0, 0, 0)),
        ("A 0-4; A 2-6", "1 0-6", Errors(0, 0, 0, 6)),  # a speaker twice at once is one
    ],
)
def test_errors_are_those_computed_by_hand(reference: str, hypothesis: str, expected: Errors) -> None:
    found = errors(reference, hypothesis)
    for name in ("missed", "false_alarm", "confusion", "speech"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-9), name


def test_a_collar_is_left_out_on_both_sides_of_reference_boundaries() -> None:
    """Scored: 1 to 9 and from 11 on. Missed 1 to 2, false alarm 11 to 12."""
    found = errors("A 0-10", "1 2-12", collar=1.0)
    assert (found.missed, found.false_alarm, found.confusion, found.speech) == pytest.approx((1, 1, 0, 8))
    found = errors("A 0-4; B 3-8", "1 0-4.2; 2 3.4-8", collar=0.25)  # scored: 0.25-2.75, 3.25-3.75 (both), 4.25-7.75
    assert (found.missed, found.false_alarm, found.confusion, found.speech) == pytest.approx((0.15, 0, 0, 2.5 + 1.0 + 3.5))


def by_milliseconds(reference: list[Turn], hypothesis: list[Turn]) -> tuple[float, float]:
    """Error and speech (s) over a grid of 1 ms, every matching of speakers tried."""

    def grid(turns: list[Turn]) -> dict[str, np.ndarray]:
        rows = {turn.speaker: np.zeros(10_000, bool) for turn in turns}
        for turn in turns:
            rows[turn.speaker][round(turn.start * 1000) : round(turn.end * 1000)] = True
        return rows

    said, heard = grid(reference), grid(hypothesis)
    many_said, many_heard = sum(said.values(), np.zeros(10_000, int)), sum(heard.values(), np.zeros(10_000, int))
    names = [*said, *([""] * len(heard))]
    correct = max(
        sum(int((said[name] & row).sum()) for name, row in zip(order, heard.values(), strict=True) if name)
        for order in permutations(names, len(heard))
    )
    return (np.maximum(many_said, many_heard).sum() - correct) / 1000, many_said.sum() / 1000


def test_errors_agree_with_a_search_over_milliseconds() -> None:
    draws = np.random.default_rng(0)

    def some(names: str) -> list[Turn]:
        times = np.sort(draws.integers(0, 10_000, (6, 2)), axis=1) / 1000
        return [Turn(str(draws.choice(list(names))), start, end) for start, end in times.tolist() if end > start]

    for _ in range(20):
        reference, hypothesis = some("AB"), some("123")
        found = diarization_errors(reference, hypothesis)
        assert (found.total, found.speech) == pytest.approx(by_milliseconds(reference, hypothesis), abs=1e-9)


def test_cells_are_counted_in_the_order_of_the_lowest_cross_entropy() -> None:
    labels = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    probabilities = np.array([[0.1, 0.9], [0.4, 0.6], [0.45, 0.2]])
    assert correct_cells(probabilities, labels) == correct_cells(probabilities[:, ::-1], labels) == 5


def test_the_settings_are_superbs_ten() -> None:
    assert {(setting.threshold, setting.median) for setting in SETTINGS} == {(t, m) for t in (0.3, 0.4, 0.5, 0.6, 0.7) for m in (1, 11)}


def test_the_setting_of_the_lowest_error_rate_is_chosen() -> None:
    probabilities = np.full((100, 2), 0.1)
    probabilities[:50, 0], probabilities[50:, 0] = 0.65, 0.55
    probabilities[20] = 0.0  # a drop-out that the filter closes
    mixture = Mixture(probabilities, [Turn("A", 0.0, 0.5)], 0)
    assert best_smoothing([mixture], 160, collar=0.0) == Smoothing(0.6, 11)
