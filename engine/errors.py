"""What counts as the user's mistake: one message, exit status 2, no traceback."""

from __future__ import annotations

from difflib import get_close_matches

from corpus.errors import DataError
from engine.task import TaskError
from upstream.errors import UpstreamError


class ConfigError(ValueError):
    """A flag, a configuration key or a value that cannot be used."""


class CheckpointError(ValueError):
    """A checkpoint or an experiment's folder that cannot be used as asked."""


USER_ERRORS = (ConfigError, CheckpointError, DataError, TaskError, UpstreamError)


def nearest(word: str, known: list[str]) -> str:
    """ "; did you mean 'X'?" where a known word is close, else nothing."""
    close = get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
