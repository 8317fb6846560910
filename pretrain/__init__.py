"""Pre-training objectives, one file each: `names()` and `load(name)`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.task import Objective


def names() -> list[str]:
    """The objectives, each named like the upstream that it trains."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def load(name: str) -> type[Objective]:
    """The objective of that name."""
    return import_module(f"pretrain.{name}").OBJECTIVE
