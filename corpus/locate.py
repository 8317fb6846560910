"""Finding data sets and lexicons in the folder that the user names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from corpus import librispeech
from corpus.errors import DataError

LEXICONS = ("librispeech-lexicon-200k-g2p.txt", "librispeech-lexicon-allothers-g2p.txt", "librispeech-lexicon.txt")
"""In the order in which they are asked for a word: s3prl's two first, since SUPERB's PR is defined by them."""

LEXICON_URL = "https://www.openslr.org/resources/11/librispeech-lexicon.txt"


@dataclass(frozen=True)
class Source:
    """A data set that readers know.

    Attributes:
        inside: names of which at least one lies in the data set's folder; they tell it from others.
        url: where to get it.
    """

    inside: tuple[str, ...]
    url: str


SOURCES = {"LibriSpeech": Source(librispeech.SPLITS, librispeech.URL)}
"""Data sets by the name of their folder."""


def locate(dataset: str, data: Path | str) -> Path:
    """The folder of a data set: `data` itself, or the folder of that name in it.

    Args:
        dataset: a key of `SOURCES`, such as "LibriSpeech".
        data: what the user gave as ``--data``.
    Raises:
        DataError: there is no such folder, or no such data set in it.
    """
    data, source = Path(data), SOURCES[dataset]
    if not data.is_dir():
        raise DataError(f"no such folder: {data}. Give the one that holds {dataset}/")
    for folder in (data / dataset, data):
        if any((folder / name).exists() for name in source.inside):
            return folder
    expected = f"{data / dataset} with at least one of {', '.join(source.inside)} inside"
    raise DataError(f"no {dataset} in {data}: expected {expected}. Get it from {source.url}")


def lexicons(data: Path | str) -> list[Path]:
    """The pronunciation lexicons in `data`, ``data/lexicon/`` or beside `data` where it is the data set itself, in reading order.

    Raises:
        DataError: there is none.
    """
    data = Path(data)
    folders = [data, data / "lexicon"]
    if data.name in SOURCES:
        folders += [data.parent, data.parent / "lexicon"]
    found = [next((folder / name for folder in folders if (folder / name).is_file()), None) for name in LEXICONS]
    if not any(found):
        raise DataError(
            f"no pronunciation lexicon in {data} or {data / 'lexicon'}: expected {' or '.join(LEXICONS)}. Get one from {LEXICON_URL}"
        )
    return [path for path in found if path is not None]
