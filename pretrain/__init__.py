"""Pre-training objectives, one file each, named like the upstream that they train; each defines `OBJECTIVE`."""

from __future__ import annotations

from pathlib import Path

from upstream.registry import Registry, RegistryError, modules_in


def _own() -> dict[str, str]:
    return {name: f"{module}:OBJECTIVE" for name, module in modules_in(Path(__file__).parent, "pretrain").items()}


registry = Registry("objective", RegistryError, _own, "weir.objectives")
