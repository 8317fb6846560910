"""Downstream tasks, one file and two YAML files each; each file defines `TASK`."""

from __future__ import annotations

from pathlib import Path

from engine.task import TaskError
from upstream.registry import Registry

RECIPES = Path(__file__).parent.parent / "configs" / "downstream" / "superb"


def _own() -> dict[str, str]:
    return {path.stem: f"downstream.{path.stem}:TASK" for path in sorted(RECIPES.glob("*.yaml"))}


registry = Registry("task", TaskError, _own, "weir.tasks")
