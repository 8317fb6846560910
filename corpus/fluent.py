"""Fluent Speech Commands (Lugosch et al., 2019) as Lhotse cuts, one a file, in the order of the published lists.

Layout: ``fluent_speech_commands_dataset/data/{train,valid,test}_data.csv``, whose column `path` leads from that folder to
``wavs/speakers/SPEAKER/UTTERANCE.wav``. (Lhotse's own recipe needs pandas, numbers the utterances and drops the speakers.)
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.errors import DataError
from corpus.locate import Source
from corpus.whole_file import whole_file

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import MonoCut

LISTS = {"train": "train_data.csv", "dev": "valid_data.csv", "test": "test_data.csv"}
SLOTS = ("action", "object", "location")
URL = "https://fluent.ai/fluent-speech-commands-a-dataset-for-spoken-language-understanding-research"
SOURCE = Source("fluent_speech_commands_dataset", tuple(f"data/{name}" for name in LISTS.values()), URL)

_COLUMNS = ("path", "speakerId", "transcription", *SLOTS)


def read(root: Path | str, split: str) -> CutSet:
    """The utterances of a split, in the order of its list.

    A cut is called by the name of its file without the suffix, as SUPERB's result files do. Its supervision has the
    transcription, the speaker and, in ``custom``, the three `SLOTS`.

    Args:
        root: the folder ``fluent_speech_commands_dataset``.
        split: "train", "dev" (the list ``valid_data.csv``) or "test".
    Raises:
        DataError: a list that is missing, empty or lacks columns; a listed file that is missing, broken or listed twice.
    """
    from lhotse import CutSet

    root = Path(root).resolve()
    path = root / "data" / LISTS[split]
    lines: dict[str, int] = {}
    cuts = []
    for number, row in _rows(path):
        cut = _cut(root, row, f"{path}, line {number}")
        if cut.id in lines:
            raise DataError(f"{path}, line {number}: {cut.id} stands in line {lines[cut.id]} already; unpack the archive again ({URL})")
        lines[cut.id] = number
        cuts.append(cut)
    if not cuts:
        raise DataError(f"{path} lists no utterance; unpack the archive again ({URL})")
    return CutSet.from_cuts(cuts)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number from 1, values by column) of each utterance."""
    if not path.is_file():
        raise DataError(f"no list {path}: unpack the whole archive ({URL})")
    with open(path, encoding="utf-8-sig", newline="") as file:
        lines = csv.DictReader(file)
        absent = [name for name in _COLUMNS if name not in (lines.fieldnames or ())]
        if absent:
            raise DataError(f"{path}, line 1: no column {', '.join(absent)}; unpack the archive again ({URL})")
        for row in lines:
            empty = [name for name in _COLUMNS if not (row[name] or "").strip()]
            if empty:
                raise DataError(f"{path}, line {lines.line_num}: no {', '.join(empty)}; unpack the archive again ({URL})")
            yield lines.line_num, {name: row[name].strip() for name in _COLUMNS}


def _cut(root: Path, row: dict[str, str], where: str) -> MonoCut:
    path = root / row["path"]
    return whole_file(
        path, path.stem, where, text=row["transcription"], speaker=row["speakerId"], labels={slot: row[slot] for slot in SLOTS}
    )
