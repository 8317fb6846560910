"""The error of this room: an upstream or a checkpoint that cannot be used as asked."""


class UpstreamError(ValueError):
    """Unknown upstream, unusable checkpoint or configuration; the message names the file, the value and the remedy."""
