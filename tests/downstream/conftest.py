"""The fixtures of `tests/engine` for this folder too."""

from tests.engine.conftest import data, encoder, fresh_accelerator, trained, weir

__all__ = ["data", "encoder", "fresh_accelerator", "trained", "weir"]
