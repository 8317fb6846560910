"""A user's own data without code: a TSV, CSV or JSONL file, one utterance a line.

Columns: `path` (audio; relative to the manifest), and as wanted `id`, `start` and `duration` (seconds), `speaker`, `text`;
every other column is a label.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corpus.audio import SLACK, STREAMED_FLAC
from corpus.errors import DataError

if TYPE_CHECKING:
    from lhotse import CutSet, Recording
    from lhotse.cut import MonoCut

COLUMNS = ("path", "id", "start", "duration", "speaker", "text")
"""What Weir itself reads; all others are labels."""


def read(path: Path | str, required: tuple[str, ...] = ()) -> CutSet:
    """The utterances of a manifest, in its order.

    An utterance without `id` is called by its path as written, without the suffix. Labels stand in
    ``cut.supervisions[0].custom``: strings from TSV and CSV, any JSON value from JSONL; an empty cell is no label.

    Args:
        path: a .tsv or .csv file with a header line, or .jsonl.
        required: columns that every utterance must have, beside `path`.
    Raises:
        DataError: naming file and line: a missing column or audio file, an id given twice, a number that is none.
    """
    from lhotse import CutSet

    path = Path(path)
    recordings: dict[Path, Recording] = {}
    lines: dict[str, int] = {}
    cuts = []
    for number, row in rows(path):
        where = f"{path}, line {number}"
        absent = [name for name in ("path", *required) if row.get(name) in (None, "")]
        if absent:
            raise DataError(f"{where}: no {', '.join(absent)} (columns there: {', '.join(row) or 'none'})")
        cut = _cut(row, path.parent, recordings, where)
        if cut.id in lines:
            raise DataError(
                f"{where}: the id {cut.id!r} stands in line {lines[cut.id]} already; give each utterance an id of its own (column id)"
            )
        lines[cut.id] = number
        cuts.append(cut)
    if not cuts:
        raise DataError(f"{path} lists no utterance")
    return CutSet.from_cuts(cuts)


def rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, values by column) of each utterance of a manifest.

    Raises:
        DataError: no such file, or not one of these formats.
    """
    readers = {".tsv": _table, ".csv": _table, ".jsonl": _json_lines}
    if path.suffix.lower() not in readers:
        raise DataError(f"{path}: a manifest is a .tsv, .csv or .jsonl file")
    if not path.is_file():
        raise DataError(f"no such manifest: {path}")
    try:
        yield from readers[path.suffix.lower()](path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error


def _table(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    tabs = path.suffix.lower() == ".tsv"
    with open(path, encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, delimiter="\t" if tabs else ",", quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL)
        header = [name.strip() for name in next(lines, [])]
        if "path" not in header or len(set(header)) < len(header):
            raise DataError(
                f"{path}, line 1: the header needs a column 'path' and no column twice; it has {', '.join(header) or 'nothing'}"
            )
        for values in lines:
            if not any(value.strip() for value in values):
                continue
            if len(values) != len(header):
                raise DataError(f"{path}, line {lines.line_num}: {len(values)} values for {len(header)} columns ({', '.join(header)})")
            yield lines.line_num, {name: value.strip() for name, value in zip(header, values, strict=True)}


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}, line {number}: not JSON ({error})") from error
            if not isinstance(row, dict):
                raise DataError(f'{path}, line {number}: a line is a JSON object such as {{"path": "a.wav"}}')
            yield number, row


def _cut(row: dict[str, Any], folder: Path, recordings: dict[Path, Recording], where: str) -> MonoCut:
    from lhotse import SupervisionSegment
    from lhotse.cut import MonoCut

    audio = folder / str(row["path"])
    if audio not in recordings:
        recordings[audio] = _recording(audio, where)
    recording = recordings[audio]
    start = seconds(row, "start", where) or 0.0
    duration = seconds(row, "duration", where)
    rest = round(recording.duration - start, 8)
    if rest <= 0 or (duration is not None and (duration <= 0 or duration > rest + SLACK)):
        raise DataError(f"{where}: from {start} s for {duration} s is not within {audio}, which has {recording.duration:.3f} s")
    duration = rest if duration is None else min(duration, rest)
    utt_id = text_of(row, "id") or Path(str(row["path"])).with_suffix("").as_posix()
    labels = {name: value for name, value in row.items() if name not in COLUMNS and value not in (None, "")}
    supervision = SupervisionSegment(
        utt_id, recording.id, 0.0, duration, text=text_of(row, "text"), speaker=text_of(row, "speaker"), custom=labels
    )
    return MonoCut(
        utt_id, start=start, duration=duration, channel=recording.channel_ids[0], recording=recording, supervisions=[supervision]
    )


def _recording(audio: Path, where: str) -> Recording:
    """A recording from the header of its file."""
    from lhotse import Recording
    from lhotse.audio.utils import AudioLoadingError

    if not audio.is_file():
        raise DataError(f"{where}: no such audio file: {audio} (relative paths start at the manifest's folder)")
    try:
        recording = Recording.from_file(audio, recording_id=audio.as_posix())
    except AudioLoadingError as error:
        raise DataError(f"{where}: {audio} is not audio, or damaged or empty; convert it again or leave it out") from error
    if recording.num_samples == 0:
        raise DataError(f"{where}: {audio} has no samples; leave it out")
    if recording.num_samples >= STREAMED_FLAC:
        raise DataError(f"{where}: the header of {audio} does not say how long it is; convert it again, from a file and not from a pipe")
    return recording


def seconds(row: dict[str, Any], name: str, where: str) -> float | None:
    """A column of seconds; None where it is empty. Raises DataError for anything else than a number that is not negative."""
    value = row.get(name)
    if value in (None, ""):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or number < 0 or isinstance(value, bool):
        raise DataError(f"{where}: {name} is {value!r}; it is a number of seconds, such as 1.5")
    return number


def text_of(row: dict[str, Any], name: str) -> str | None:
    """A column as text; None where it is empty."""
    value = row.get(name)
    return None if value in (None, "") else str(value)
