"""Finding data sets and lexicons in the folder that the user names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from corpus.errors import DataError

LEXICONS = ("librispeech-lexicon-200k-g2p.txt", "librispeech-lexicon-allothers-g2p.txt", "librispeech-lexicon.txt")
"""In the order in which they are asked for a word: s3prl's two first, since SUPERB's PR is defined by them."""

LEXICON_URL = "https://www.openslr.org/resources/11/librispeech-lexicon.txt"


@dataclass(frozen=True)
class Source:
    """A data set as its reader knows it; every reader's module has one or more, in its own file.

    Attributes:
        folder: the data set's own name, that of its folder.
        inside: names of which at least one lies in that folder; they tell it from others.
        url: where to get it.
    """

    folder: str
    inside: tuple[str, ...]
    url: str


def locate(source: Source, data: Path | str) -> Path:
    """The folder of a data set: the folder of that name in `data`, or `data` itself.

    Args:
        data: what the user gave as ``--data``.
    Raises:
        DataError: there is no such folder, or no such data set in it.
    """
    data = Path(data)
    if not data.is_dir():
        raise DataError(f"no such folder: {data}. Give the one that holds {source.folder}/")
    for folder in (data / source.folder, data):
        if any((folder / name).exists() for name in source.inside):
            return folder
    expected = f"{data / source.folder} with at least one of {', '.join(source.inside)} inside"
    raise DataError(f"no {source.folder} in {data}: expected {expected}. Get it from {source.url}")


def lexicons(data: Path | str) -> list[Path]:
    """The pronunciation lexicons in `data` or ``data/lexicon/``, else beside `data` (it may be the data set itself), in reading order.

    Raises:
        DataError: there is none.
    """
    data = Path(data)
    folders = [data, data / "lexicon", data.parent, data.parent / "lexicon"]
    found = [next((folder / name for folder in folders if (folder / name).is_file()), None) for name in LEXICONS]
    if not any(found):
        raise DataError(
            f"no pronunciation lexicon in {data} or {data / 'lexicon'}: expected {' or '.join(LEXICONS)}. Get one from {LEXICON_URL}"
        )
    return [path for path in found if path is not None]
