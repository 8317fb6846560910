"""Subsequence dynamic time warping (DTW): how well a query matches the best part of each document.

The recursion is dtw-python's `asymmetric` step pattern with open begin and open end (Tormene et al., 2009), as SUPERB's query by
example uses it (s3prl downstream/quesst14_dtw); here all documents of a batch are warped at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

MIN_FRAMES = 5
"""Shorter queries match nothing: their scores are 0."""

FRAMES_AT_ONCE = 1 << 15
"""Document frames in a batch: one row of accumulated costs stays in the processor's cache."""

TINY = 1e-9
"""Least divisor of a normalisation, as published."""

DISTANCES: dict[str, Callable[[Tensor], Tensor]] = {
    "cosine": lambda cosine: cosine.neg_().add_(1),
    "cosine_exp": lambda cosine: cosine.neg_().add_(1).expm1_(),
}
"""From the cosine of two frames to their distance, in place."""


def match(queries: Sequence[Tensor], documents: Sequence[Tensor], distance: str = "cosine_exp") -> Tensor:
    """The score of every query in every document: minus the mean distance along the best path through the distance matrix.

    Features are first brought to zero mean and unit variance over all frames of queries and documents; the distances of a query's
    frame to the frames of a document are scaled to [0, 1].

    Args:
        queries: Q tensors (N, D) float32.
        documents: X tensors (F, D) float32, on the same device.
        distance: one of `DISTANCES`.
    Returns: (Q, X) float32, at most 0; 0 throughout for queries of fewer than `MIN_FRAMES` frames.
    """
    mean, deviation = _statistics([*queries, *documents])
    units = [normalize((query - mean) / deviation, dim=-1) for query in queries]
    scores = mean.new_zeros(len(queries), len(documents))
    for places in _batches([len(document) for document in documents]):
        batch = normalize((_padded([documents[place] for place in places]) - mean) / deviation, dim=-1)
        for score, query in zip(scores, units, strict=True):
            if len(query) >= MIN_FRAMES:
                score[places] = -path_costs(_distances(query, batch, distance))
    return scores


def standardised(scores: Tensor) -> Tensor:
    """Scores (Q, X) brought to zero mean and unit variance over the documents of each query, in double precision."""
    scores = scores.double()
    deviations = scores.std(dim=1, correction=0, keepdim=True).clamp(min=TINY)
    return (scores - scores.mean(dim=1, keepdim=True)) / deviations


def path_costs(distances: Tensor) -> Tensor:
    """The least mean distance of a path through each distance matrix, whose step patterns follow dtw-python's `asymmetric`.

    A path visits each of the N rows once and goes on by 0, 1 or 2 columns from one to the next; it begins and ends in any column.

    Args:
        distances: (N, B, F), B matrices of N query frames and F document frames.
    Returns: (B,)
    """
    costs = distances[0].clone()
    for row in distances[1:]:
        best = costs.clone()
        for step in (1, 2):
            torch.minimum(best[:, step:], costs[:, :-step], out=best[:, step:])
        costs = best.add_(row)
    return costs.amin(dim=-1) / len(distances)


def _distances(query: Tensor, documents: Tensor, distance: str) -> Tensor:
    """Distances (N, B, F) between unit vectors, a query's (N, D) and those of a batch (B, F, D); each row in [0, 1]."""
    distances = DISTANCES[distance](query @ documents.flatten(0, 1).T).unflatten(1, documents.shape[:2])
    low, high = distances.amin(dim=-1, keepdim=True), distances.amax(dim=-1, keepdim=True)
    return distances.sub_(low).div_((high - low).clamp_(min=TINY))


def _padded(documents: Sequence[Tensor]) -> Tensor:
    """Documents (B, F, D) as long as the longest. The last frame is repeated, which alters no extreme of a row and no best path."""
    places = torch.arange(max(map(len, documents)), device=documents[0].device)
    return torch.stack([document[places.clamp(max=len(document) - 1)] for document in documents])


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """The places of all documents, those of similar lengths together, at most `FRAMES_AT_ONCE` frames with padding."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):  # each is the longest so far
        if batch and (len(batch) + 1) * lengths[place] > FRAMES_AT_ONCE:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _statistics(features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and (unbiased) standard deviation (D,) over all frames, summed in double precision."""
    frames = sum(map(len, features))
    mean = torch.stack([feature.sum(dim=0, dtype=torch.float64) for feature in features]).sum(dim=0) / frames
    squares = torch.stack([(feature - mean).square().sum(dim=0) for feature in features]).sum(dim=0)
    deviation = (squares / max(frames - 1, 1)).sqrt().clamp(min=TINY)
    return mean.to(features[0]), deviation.to(features[0])
