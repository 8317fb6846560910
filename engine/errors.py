"""What counts as the user's mistake: one message, exit status 2, no traceback."""

from __future__ import annotations

from corpus.errors import DataError
from upstream.errors import UpstreamError
from upstream.registry import RegistryError, nearest


class TaskError(ValueError):
    """A task that cannot be used as asked."""


class ConfigError(ValueError):
    """A flag, a configuration key or a value that cannot be used."""


class CheckpointError(ValueError):
    """A checkpoint or an experiment's folder that cannot be used as asked."""


USER_ERRORS = (ConfigError, CheckpointError, DataError, RegistryError, TaskError, UpstreamError)


def did_you_mean(word: str, known: list[str]) -> str:
    """ "; did you mean 'X'?" where a known word is close, else nothing."""
    guess = nearest(word, known)
    return f"; did you mean {guess!r}?" if guess else ""
