"""The error of this room: data that the user gave and that cannot be used."""


class DataError(ValueError):
    """Missing, broken or unsuitable data; the message names the file, the value and the remedy."""
