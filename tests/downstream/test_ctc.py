"""CTC: the loss as SUPERB takes it, and greedy decoding."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from downstream.ctc import ctc_loss, greedy


def probability(log_probs: torch.Tensor, target: list[int]) -> float:
    """Of a target, summed over every path through (F, C): exponential, and plainly right."""
    frames, classes = log_probs.shape
    total, paths = 0.0, [([], 0.0)]
    for frame in range(frames):
        paths = [([*path, symbol], score + float(log_probs[frame, symbol])) for path, score in paths for symbol in range(classes)]
    for path, score in paths:
        collapsed = [symbol for place, symbol in enumerate(path) if symbol and (place == 0 or path[place - 1] != symbol)]
        total += math.exp(score) * (collapsed == target)
    return total


def test_loss_is_minus_the_log_of_the_sum_over_all_paths_by_target_length() -> None:
    torch.manual_seed(0)
    logits, targets, lengths = torch.randn(3, 5, 4), [[1, 2], [3], [1, 1, 2]], [5, 3, 5]
    expected = [
        -math.log(probability(F.log_softmax(row[:length].double(), -1), target)) / len(target)
        for row, target, length in zip(logits, targets, lengths, strict=True)
    ]
    assert float(ctc_loss((logits, torch.tensor(lengths)), targets)) == pytest.approx(sum(expected) / 3, rel=1e-5)


def test_loss_of_a_batch_is_the_mean_of_torchs_losses_of_single_utterances() -> None:
    torch.manual_seed(1)
    logits, lengths = torch.randn(4, 30, 32), torch.tensor([30, 22, 9, 25])
    targets = [torch.randint(1, 32, (size,)).tolist() for size in (7, 3, 2, 11)]
    alone = []
    for row, length, target in zip(logits, lengths.tolist(), targets, strict=True):
        log_probs = F.log_softmax(row[:length], -1)[:, None]
        loss = F.ctc_loss(log_probs, torch.tensor([target]), torch.tensor([length]), torch.tensor([len(target)]), reduction="sum")
        alone.append(float(loss) / len(target))
    assert float(ctc_loss((logits, lengths), targets)) == pytest.approx(sum(alone) / 4, rel=1e-5)


def test_utterance_that_cannot_be_aligned_counts_as_zero_and_gives_no_gradient() -> None:
    logits = torch.randn(2, 6, 4, requires_grad=True)
    loss = ctc_loss((logits, torch.tensor([2, 6])), [[1, 2, 3], [1]])
    loss.backward()
    assert math.isfinite(float(loss.detach())) and logits.grad is not None
    assert not logits.grad[0].any() and logits.grad[1].any()


@pytest.mark.parametrize(
    "path, expected",
    [
        ([0, 1, 1, 0, 2, 2, 2], [1, 2]),  # repeats collapse
        ([1, 0, 1], [1, 1]),  # a blank parts equal symbols
        ([1, 1, 2, 1], [1, 2, 1]),
        ([0, 0, 0], []),
        ([3], [3]),
    ],
)
def test_greedy_collapses_repeats_then_removes_blanks(path: list[int], expected: list[int]) -> None:
    logits = F.one_hot(torch.tensor([path]), 4).float()
    assert greedy((logits, torch.tensor([len(path)]))) == [expected]


def test_greedy_reads_valid_frames_alone() -> None:
    logits = F.one_hot(torch.tensor([[1, 2, 3, 3], [2, 1, 1, 3]]), 4).float()
    assert greedy((logits, torch.tensor([2, 4]))) == [[1, 2], [2, 1, 3]]
