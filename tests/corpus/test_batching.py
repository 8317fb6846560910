"""Batches: complete, within their limits, decided by (seed, epoch) alone, resumable anywhere."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys

import pytest
from pydantic import ValidationError

from corpus.batching import Batching, Position, evaluation_batches, stream, training_batches
from corpus.errors import DataError
from tests.corpus.make import cut, cuts

BUCKETS = Batching(batch_size=8, max_seconds=60.0, num_buckets=5)
FIXED = Batching(method="fixed", batch_size=8)
RANDOM = Batching(method="random", batch_size=8)
BALANCED = Batching(method="balanced", batch_size=8)
WINDOWS = Batching(method="windows", batch_size=8, halved_above_seconds=10.0)


def ids(batches):
    return [[one.id for one in batch] for batch in batches]


@pytest.mark.parametrize("config", [BUCKETS, FIXED, RANDOM, Batching(batch_size=8), Batching(max_seconds=40.0)])
def test_an_epoch_holds_every_cut_once(config):
    drawn = [utt_id for batch in ids(training_batches(cuts(203), config, seed=1, epoch=0)) for utt_id in batch]
    assert sorted(drawn) == [one.id for one in cuts(203)]


def test_no_batch_goes_beyond_its_limits():
    for batch in training_batches([*cuts(500), cut("long", 70.0)], BUCKETS, seed=0, epoch=0):
        assert len(batch) <= 8
        assert len(batch) == 1 or len(batch) * max(one.duration for one in batch) <= 60.0


def test_buckets_hold_cuts_of_similar_length():
    batches = list(training_batches(cuts(2000), Batching(batch_size=16, num_buckets=20), seed=0, epoch=0))
    padded = sum(len(batch) * max(one.duration for one in batch) for batch in batches)
    assert padded < 1.1 * sum(one.duration for batch in batches for one in batch)


@pytest.mark.parametrize("config", [BUCKETS, FIXED])
def test_batches_depend_on_seed_and_epoch_and_nothing_else(config):
    first = ids(training_batches(cuts(100), config, seed=3, epoch=4))
    random.seed(99)
    shuffled = random.sample(cuts(100), 100)
    assert ids(training_batches(shuffled, config, seed=3, epoch=4)) == first
    others = [ids(training_batches(cuts(100), config, seed, epoch)) for seed, epoch in [(4, 3), (3, 5), (4, 4)]]
    assert all(first != other for other in others)


def rare_or_common(one):
    """One cut in twenty is rare."""
    return "rare" if int(one.id.split("-")[-1]) % 20 == 0 else "common"


def target(one):
    """A target that is the longer, the shorter the cut."""
    return [0] * (40 - round(one.duration))


@pytest.mark.parametrize("config, label", [(RANDOM, None), (BALANCED, rare_or_common), (WINDOWS, target)])
def test_every_method_is_decided_by_seed_and_epoch_and_can_go_on_anywhere(config, label):
    first = ids(training_batches(cuts(100), config, 3, 4, label))
    assert ids(training_batches(random.sample(cuts(100), 100), config, 3, 4, label)) == first
    assert ids(training_batches(cuts(100), config, 3, 5, label)) != first
    whole = list(itertools.islice(stream(cuts(100), config, 3, Position(), label), 150))
    rest = list(itertools.islice(stream(cuts(100), config, 3, whole[70][0], label), 79))
    assert [ids([batch]) for _, batch in rest] == [ids([batch]) for _, batch in whole[71:]]


def test_balanced_batches_draw_each_class_as_often_with_replacement():
    drawn = [one for batch in training_batches(cuts(1000), BALANCED, 0, 0, rare_or_common) for one in batch]
    assert len(drawn) == 1000
    rare = sum(rare_or_common(one) == "rare" for one in drawn)
    assert 430 < rare < 570  # 500 expected, standard deviation 16
    assert len({one.id for one in drawn}) < 1000
    assert all(len(batch) == 8 for batch in training_batches(cuts(1001), BALANCED, 0, 0, rare_or_common))


def test_windows_go_over_all_cuts_by_target_length():
    ordered = sorted(cuts(30), key=lambda one: (-len(target(one)), one.id))
    batches = list(training_batches(cuts(30), WINDOWS, 0, 0, target))
    assert len(batches) == 30
    expected = [ordered[min(22, i) :][:8] for i in range(30)]
    halved = [window[:4] if window[0].duration > 10 else window for window in expected]
    assert sorted(ids(batches)) == sorted(ids(halved))
    assert {len(batch) for batch in batches} == {4, 8}


def test_methods_that_need_labels_say_so():
    with pytest.raises(DataError, match="labelled"):
        next(stream(cuts(30), BALANCED, 0, Position()))


def test_the_global_random_state_is_left_alone():
    state = random.getstate()
    list(training_batches(cuts(50), BUCKETS, seed=0, epoch=0))
    assert random.getstate() == state


def test_another_hash_seed_gives_the_same_batches(repository):
    code = (
        "from corpus.batching import *; from tests.corpus.make import cuts;"
        "print([[c.id for c in b] for b in training_batches(cuts(60), Batching(batch_size=4), 1, 2)])"
    )
    expected = str(ids(training_batches(cuts(60), Batching(batch_size=4), 1, 2)))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, env={**os.environ, "PYTHONHASHSEED": "7"}, capture_output=True, text=True
    )
    assert done.stdout.strip() == expected, done.stderr


def test_fixed_batches_follow_superbs_rule():
    lengths = [float(n) for n in range(1, 10)]
    batches = list(training_batches([cut(f"u{n:.0f}", n) for n in lengths], Batching(method="fixed", batch_size=4), seed=0, epoch=0))
    assert sorted(ids(batches)) == [["u5", "u4", "u3", "u2"], ["u9", "u8", "u7", "u6"]]  # the single last one is left out
    halved = Batching(method="fixed", batch_size=4, halved=True)
    batches = ids(training_batches([cut(f"u{n:.0f}", n) for n in lengths[1:]] + [cut("u0", 0.5), cut("u00", 0.4)], halved, 0, 0))
    assert sorted(batches) == [["u0", "u00"], ["u3", "u2"], ["u5", "u4"], ["u7", "u6"], ["u9", "u8"]]


@pytest.mark.parametrize("config", [BUCKETS, FIXED])
@pytest.mark.parametrize("done", [1, 7, 13, 14, 30])
def test_a_resumed_stream_equals_the_uninterrupted_one(config, done):
    whole = list(itertools.islice(stream(cuts(100), config, 5, Position()), 60))
    position = whole[done - 1][0]
    rest = list(itertools.islice(stream(cuts(100), config, 5, position), 60 - done))
    assert [p for p, _ in rest] == [p for p, _ in whole[done:]]
    assert ids(batch for _, batch in rest) == ids(batch for _, batch in whole[done:])


def test_the_stream_is_the_epochs_one_after_another():
    epochs = [batch for epoch in range(3) for batch in ids(training_batches(cuts(100), BUCKETS, 5, epoch))]
    taken = list(itertools.islice(stream(cuts(100), BUCKETS, 5, Position()), len(epochs)))
    assert ids(batch for _, batch in taken) == epochs
    assert taken[-1][0] == Position(3, 0)


def test_an_epoch_without_a_batch_is_an_error():
    with pytest.raises(DataError, match="no utterance to train on"):
        next(stream([], BUCKETS, 0, Position()))
    with pytest.raises(DataError, match="no batch of 4"):
        next(stream([cut("a", 1.0)], Batching(method="fixed", batch_size=4), 0, Position()))
    with pytest.raises(DataError, match="none within min_utterance_seconds 20"):
        next(stream(cuts(5), Batching(batch_size=4, min_utterance_seconds=20.0), 0, Position()))


def test_cuts_beyond_the_limits_are_left_out_and_counted(caplog):
    config = Batching(batch_size=4, min_utterance_seconds=2.0, max_utterance_seconds=8.0)
    drawn = [one.duration for batch in training_batches(cuts(100), config, 0, 0) for one in batch]
    assert 2.0 <= min(drawn) and max(drawn) <= 8.0
    assert f"{100 - len(drawn)} of 100 utterances are left out" in caplog.text


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_smallest_corpora_work(count, recwarn):
    batches = list(training_batches(cuts(count), Batching(batch_size=4, max_seconds=30.0), 0, 0))
    assert sum(map(len, batches)) == count
    assert not list(recwarn)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"method": "fixed"},
        {"method": "fixed", "batch_size": 2, "max_seconds": 9.0},
        {"batch_size": 0},
        {"batch_size": 2, "halved": True},
        {"bath": 1},
    ],
)
def test_unusable_configurations_are_refused(values):
    with pytest.raises(ValidationError):
        Batching(**values)


def test_evaluation_batches_hold_every_cut_once_within_limits():
    batches = evaluation_batches([*cuts(101), cut("long", 90.0)], max_seconds=50.0, max_cuts=8)
    flat = [one for batch in batches for one in batch]
    assert sorted(one.id for one in flat) == sorted(one.id for one in [*cuts(101), cut("long", 90.0)])
    assert [one.duration for one in flat] == sorted((one.duration for one in flat), reverse=True)
    assert all(len(b) <= 8 and (len(b) == 1 or len(b) * b[0].duration <= 50.0) for b in batches)
    assert ids(evaluation_batches(random.sample(cuts(50), 50), 50.0, 8)) == ids(evaluation_batches(cuts(50), 50.0, 8))
    assert evaluation_batches([], 50.0, 8) == []
