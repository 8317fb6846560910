"""Subsequence DTW against the recursion written out, and against dtw-python where that is installed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from downstream import dtw
from downstream.dtw import match, path_costs, standardised


def random(*lengths: int, dim: int = 6, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, dim, generator=generator) for length in lengths]


def slow_cost(distances: np.ndarray) -> float:
    """One matrix (N, F), cell by cell: open begin, steps of 0 to 2 columns from row to row, open end."""
    rows, columns = distances.shape
    cost = np.full((rows, columns), math.inf)
    for i in range(rows):
        for j in range(columns):
            before = [0.0] if i == 0 else [cost[i - 1, j - step] for step in (0, 1, 2) if j >= step]
            cost[i, j] = distances[i, j] + min(before)
    return float(cost[-1].min() / rows)


def slow_distances(queries: list[Tensor], documents: list[Tensor], distance: str) -> list[list[np.ndarray]]:
    """The scaled distance matrix of each pair, in double precision."""
    frames = np.concatenate([feature.double().numpy() for feature in [*queries, *documents]])
    mean, deviation = frames.mean(0), frames.std(0, ddof=1)
    sides = [[(feature.double().numpy() - mean) / deviation for feature in side] for side in (queries, documents)]
    matrices = []
    for query in sides[0]:
        matrices.append([])
        for document in sides[1]:
            norms = np.linalg.norm(query, axis=1)[:, None] * np.linalg.norm(document, axis=1)
            cosine = 1 - query @ document.T / norms
            values = np.exp(cosine) - 1 if distance == "cosine_exp" else cosine
            low, high = values.min(1, keepdims=True), values.max(1, keepdims=True)
            matrices[-1].append((values - low) / (high - low))
    return matrices


@pytest.mark.parametrize("rows, columns", [(1, 1), (4, 1), (3, 2), (5, 3), (7, 30), (20, 9)])
def test_paths_cost_what_the_recursion_says(rows: int, columns: int) -> None:
    distances = torch.rand(rows, 4, columns, generator=torch.Generator().manual_seed(1))
    expected = [slow_cost(distances[:, index].numpy()) for index in range(4)]
    assert path_costs(distances).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("distance", ["cosine_exp", "cosine"])
def test_scores_of_batched_documents_are_those_of_each_alone(monkeypatch: pytest.MonkeyPatch, distance: str) -> None:
    queries, documents = random(5, 9, 14), random(31, 12, 47, 6, 33, 20, seed=1)
    monkeypatch.setattr(dtw, "FRAMES_AT_ONCE", 70)  # four batches, two of them padded
    expected = [[-slow_cost(matrix) for matrix in row] for row in slow_distances(queries, documents, distance)]
    np.testing.assert_allclose(match(queries, documents, distance).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_paths_cost_what_dtw_python_says(seed: int) -> None:
    peer = pytest.importorskip("dtw", reason="dtw-python is not installed")
    distances = torch.rand(11, 1, 40, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    aligned = peer.dtw(distances[:, 0].numpy(), step_pattern="asymmetric", open_begin=True, open_end=True)
    assert path_costs(distances).item() == pytest.approx(aligned.normalizedDistance)


def test_a_query_is_found_wherever_it_is_said_at_half_to_any_speed() -> None:
    query, other = random(12, 40)
    said = [query, query.repeat_interleave(2, dim=0), query.repeat_interleave(3, dim=0), query[::3]]
    documents = [torch.cat([other[: 8 * place], spoken, other[8 * place :]]) for place, spoken in enumerate(said)]
    scores = match([query, query[::3].repeat_interleave(3, dim=0)], [other, *documents])
    assert scores[0, 1:3].tolist() == pytest.approx([0, 0], abs=1e-6)
    assert scores[0, 3] < -0.01  # a path cannot pass three frames a row
    assert scores[1, 4].item() == pytest.approx(0, abs=1e-6)  # it can stay on one


def test_queries_below_five_frames_match_nothing() -> None:
    scores = match(random(4, 5), random(30, 31, seed=1))
    assert scores[0].tolist() == [0, 0] and (scores[1] < 0).all()
    assert standardised(scores)[0].tolist() == [0, 0]


def test_documents_of_one_frame_and_constant_features_give_numbers() -> None:
    assert match(random(6), random(1, 2, 30, seed=1)).isfinite().all()
    assert match([torch.ones(6, 3)], [torch.ones(9, 3)]).tolist() == [[0.0]]


def test_scores_are_brought_to_mean_0_and_deviation_1_for_each_query() -> None:
    found = standardised(torch.tensor([[1.0, 2.0, 3.0], [10.0, 10.0, 40.0]]))
    assert found[0].tolist() == pytest.approx([-math.sqrt(1.5), 0, math.sqrt(1.5)])
    assert found[1].tolist() == pytest.approx([-math.sqrt(0.5), -math.sqrt(0.5), math.sqrt(2)])
