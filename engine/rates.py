"""Learning rates that others found for an upstream and a task, from `configs/reference/learning_rates.yaml`."""

from __future__ import annotations

from dataclasses import dataclass

from engine import yaml12
from engine.config import CONFIGS

KEY = "config.optimizer.lr"


@dataclass(frozen=True)
class Rate:
    """A published learning rate and where it is published."""

    lr: float
    source: str


def recommended(upstream: str, task: str) -> Rate | None:
    """The rate to begin with under the benchmark's recipe; None where nobody published one."""
    found = yaml12.read(CONFIGS / "reference" / "learning_rates.yaml").get(upstream, {}).get(task)
    return Rate(**found) if found else None
