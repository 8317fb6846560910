"""Optimizers and schedules against values by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from engine.config import Optimizer, Scheduler
from engine.optim import build_optimizer, build_scheduler


def rates(scheduler: Scheduler | None, total: int, peak: float = 2.0) -> list[float]:
    """The rate of each update."""
    optimizer = build_optimizer(Optimizer(name="SGD", lr=peak), [nn.Linear(1, 1)])
    schedule = build_scheduler(scheduler, optimizer, total)
    found = []
    for _ in range(total):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if schedule is not None:
            schedule.step()
    return found


def test_without_a_schedule_the_rate_stays() -> None:
    assert rates(None, 4) == [2.0] * 4


def test_linear_schedule_warms_up_holds_and_decays_towards_zero() -> None:
    """10 updates, 2 of warm-up: 1/3, 2/3 of the peak; 3 held; then 5/5, 4/5, …, 1/5."""
    expected = [2 / 3, 4 / 3, 2, 2, 2, 2, 8 / 5, 6 / 5, 4 / 5, 2 / 5]
    assert rates(Scheduler(name="linear", warmup=0.2, hold=0.3), 10) == pytest.approx(expected)


def test_cosine_schedule_falls_along_half_a_cosine() -> None:
    expected = [2 * (0.5 + 0.5 * math.cos(math.pi * step / 8)) for step in range(8)]
    assert rates(Scheduler(name="cosine"), 8) == pytest.approx(expected)


def test_constant_schedule_only_warms_up() -> None:
    assert rates(Scheduler(name="constant", warmup=0.5), 4) == pytest.approx([2 / 3, 4 / 3, 2, 2])


def test_every_update_moves_whatever_the_shares() -> None:
    for name in ("linear", "cosine", "constant"):
        for warmup, hold in ((0, 0), (1, 0), (0, 1), (0.5, 0.5), (0.03, 0.9)):
            assert all(0 < rate <= 2.0 for rate in rates(Scheduler(name=name, warmup=warmup, hold=hold), 7))  # type: ignore[arg-type]


def test_shares_beyond_the_run_are_refused() -> None:
    with pytest.raises(ValueError, match="more than the whole run"):
        Scheduler(warmup=0.6, hold=0.5)


def one_update(config: Optimizer) -> tuple[torch.Tensor, torch.Tensor]:
    linear = nn.Linear(2, 1)
    with torch.no_grad():
        linear.weight.fill_(3.0)
        linear.bias.fill_(5.0)
    optimizer = build_optimizer(config, [linear])
    linear.weight.grad, linear.bias.grad = torch.full((1, 2), 4.0), torch.full((1,), -4.0)
    optimizer.step()
    return linear.weight.detach()[0, 0], linear.bias.detach()[0]


def test_first_updates_by_hand() -> None:
    # Adam's first step is lr × sign of the gradient; SGD's is lr × gradient
    assert [float(value) for value in one_update(Optimizer(name="Adam", lr=0.1))] == pytest.approx([2.9, 5.1])
    assert [float(value) for value in one_update(Optimizer(name="SGD", lr=0.1))] == pytest.approx([2.6, 5.4])
    # AdamW takes lr × decay × weight off first
    assert [float(value) for value in one_update(Optimizer(name="AdamW", lr=0.1, weight_decay=0.5))] == pytest.approx([2.75, 4.85])


def test_decay_can_spare_biases_and_norms() -> None:
    found = one_update(Optimizer(name="AdamW", lr=0.1, weight_decay=0.5, decay_matrices_only=True))
    assert [float(value) for value in found] == pytest.approx([2.75, 5.1])


def test_frozen_parameters_are_left_out() -> None:
    frozen = nn.Linear(3, 3).requires_grad_(False)
    optimizer = build_optimizer(Optimizer(lr=1.0), [frozen, nn.Linear(2, 1)])
    assert sum(p.numel() for group in optimizer.param_groups for p in group["params"]) == 3


def test_options_that_an_optimizer_does_not_have_are_refused() -> None:
    for name, option in (("SGD", {"betas": (0.9, 0.98)}), ("SGD", {"eps": 1e-6}), ("Adam", {"momentum": 0.9})):
        with pytest.raises(ValueError, match=next(iter(option))):
            Optimizer(name=name, lr=1.0, **option)  # type: ignore[arg-type]
