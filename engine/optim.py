"""Optimizers and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import nn, optim
from torch.optim.lr_scheduler import LambdaLR

from engine.config import Optimizer, Scheduler

FUSED = ("cpu", "cuda")
"""Devices on which one call updates all parameters."""


def build_optimizer(config: Optimizer, modules: Iterable[nn.Module]) -> optim.Optimizer:
    """The optimizer over every parameter that requires a gradient, in the modules' order."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    groups = [{"params": parameters, "weight_decay": config.weight_decay}]
    if config.decay_matrices_only:
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
    fused = all(p.device.type in FUSED for p in parameters)
    if config.name == "SGD":
        return optim.SGD(groups, lr=config.lr, momentum=config.momentum, fused=fused)
    kind = optim.Adam if config.name == "Adam" else optim.AdamW
    return kind(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=fused)


def build_scheduler(config: Scheduler | None, optimizer: optim.Optimizer, total_steps: int) -> LambdaLR | None:
    """The schedule over `total_steps` updates; None keeps the rate constant."""
    if config is None:
        return None
    warmup, decay_from = config.warmup * total_steps, (config.warmup + config.hold) * total_steps

    def factor(step: int) -> float:
        """Share of the peak rate at update `step`, counted from 0: the first update already moves, the last one nearly not."""
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if config.name == "constant" or step < decay_from:
            return 1.0
        left = max(0.0, (total_steps - step) / max(1.0, total_steps - decay_from))
        return left if config.name == "linear" else 0.5 - 0.5 * math.cos(math.pi * left)

    return LambdaLR(optimizer, factor)
