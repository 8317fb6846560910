"""Reading ahead keeps the order, and its errors come where their item would have come."""

from __future__ import annotations

import itertools

import pytest

from engine.prefetch import prefetch


@pytest.mark.parametrize("depth", [0, 1, 3, 50])
def test_results_come_in_order(depth: int) -> None:
    assert list(prefetch(lambda x: x * x, range(20), depth)) == [x * x for x in range(20)]


@pytest.mark.parametrize("depth", [0, 3])
def test_error_surfaces_after_the_results_before_it(depth: int) -> None:
    results = prefetch(lambda x: 1 // (4 - x), range(9), depth)
    assert [next(results) for _ in range(4)] == [0, 0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_no_more_is_drawn_than_the_depth_asks_for() -> None:
    drawn: list[int] = []
    results = prefetch(lambda x: x, (drawn.append(x) or x for x in itertools.count()), 2)
    assert [next(results), next(results)] == [0, 1]
    assert len(drawn) <= 4
    results.close()  # type: ignore[attr-defined]
