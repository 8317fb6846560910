"""Downstream tasks, one file and two YAML files each; each file defines `TASK`."""

from __future__ import annotations

from pathlib import Path

from upstream.registry import Registry, RegistryError

RECIPES = Path(__file__).parent.parent / "configs" / "downstream" / "superb"


def _own() -> dict[str, str]:
    return {path.stem: f"downstream.{path.stem}:TASK" for path in sorted(RECIPES.glob("*.yaml"))}


registry = Registry("task", RegistryError, _own, "weir.tasks")
