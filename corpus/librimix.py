"""Libri2Mix (Cosentino et al., 2020) prepared for diarization, as Lhotse cuts: one a mixture, with the turns of its speakers.

Layout, as SUPERB's preparation leaves it (https://github.com/s3prl/LibriMix, scripts/prepare_diarization.py):
``LibriMix-SD/{train,dev,test}/`` with Kaldi's ``wav.scp`` (mixture and path) and ``rttm`` (mixture, start, duration, speaker);
``segments``, ``utt2spk``, ``spk2utt`` and ``reco2dur`` beside them repeat the same and are not read. A path in ``wav.scp`` is
absolute, or starts at the split's folder, at ``LibriMix-SD`` or beside it. Where the mixtures have been moved since, the part
of the path from ``Libri2Mix/`` on is looked for beside ``LibriMix-SD``.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.errors import DataError
from corpus.locate import Source
from corpus.whole_file import read_recording

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import Cut, MonoCut

SPLITS = ("train", "dev", "test")
URL = "https://github.com/s3prl/LibriMix"
SOURCE = Source("LibriMix-SD", tuple(f"{split}/wav.scp" for split in SPLITS), URL)

MIXTURES = "Libri2Mix"
"""Name of the folder that LibriMix's own scripts put the audio into."""

SHORTEST_CHUNK = 0.1
"""Seconds: a remainder below this stays with the chunk before it, since encoders need more than a frame or two."""

NAMED_AT_MOST = 5
"""Mixtures listed in one message."""


def read(root: Path | str, split: str) -> CutSet:
    """The mixtures of a split, sorted by id; each has one supervision a turn, with its speaker.

    Args:
        root: the folder ``LibriMix-SD``.
        split: one of `SPLITS`.
    Raises:
        DataError: unknown split; a missing list, or one with a line that is none; missing or broken audio; a mixture without
            turns, or turns without a mixture.
    """
    from lhotse import CutSet, SupervisionSegment
    from lhotse.cut import MonoCut

    if split not in SPLITS:
        raise DataError(f"LibriMix-SD has no split {split!r}; it has {', '.join(SPLITS)}")
    folder = (Path(root) / split).resolve()
    paths, turns = _audio_paths(folder / "wav.scp"), _turns(folder / "rttm")
    _check_complete(folder, paths, turns)
    cuts: list[MonoCut] = []
    for mixture in sorted(paths):
        recording = read_recording(_found(paths[mixture], folder), mixture, str(folder / "wav.scp"))
        supervisions = [
            SupervisionSegment(f"{mixture}-{index:04}", mixture, start, duration, speaker=speaker)
            for index, (start, duration, speaker) in enumerate(sorted(turns[mixture]))
        ]
        cuts.append(MonoCut(mixture, 0.0, recording.duration, recording.channel_ids[0], supervisions, recording=recording))
    return CutSet.from_cuts(cuts)


def chunks(cuts: Iterable[Cut], seconds: float) -> CutSet:
    """Consecutive chunks of so many seconds with the ids ``MIXTURE-0000``, …; what is left makes the last one, shorter.

    A chunk names its mixture and its start there (s) in ``cut.custom``: `mixture` and `offset`. It carries every turn of the
    mixture, relative to itself, also those that lie before or behind it.
    """
    from lhotse import CutSet

    return CutSet.from_cuts(chunk for cut in cuts for chunk in _chunks(cut, seconds))


def _chunks(cut: Cut, seconds: float) -> Iterator[Cut]:
    from lhotse.utils import fastcopy

    starts = [index * seconds for index in range(max(1, math.ceil(round(cut.duration / seconds, 6))))]
    if len(starts) > 1 and round(cut.duration - starts[-1], 6) < SHORTEST_CHUNK:
        starts.pop()
    for index, (start, end) in enumerate(zip(starts, [*starts[1:], cut.duration], strict=True)):
        yield fastcopy(
            cut,
            id=f"{cut.id}-{index:04}",
            start=round(cut.start + start, 8),
            duration=round(end - start, 8),
            supervisions=[supervision.with_offset(-start) for supervision in cut.supervisions],
            custom={**(cut.custom or {}), "mixture": cut.id, "offset": start},
        )


def _audio_paths(scp: Path) -> dict[str, str]:
    """Path by mixture, as a ``wav.scp`` gives them."""
    paths: dict[str, str] = {}
    for number, line in _lines(scp):
        mixture, _, path = line.partition(" ")
        path = path.strip()
        if not path or path.endswith("|"):
            raise DataError(f"{scp}, line {number}: {line!r} is not a mixture and the path of its audio file (commands are not run)")
        if mixture in paths:
            raise DataError(f"{scp}, line {number}: {mixture} stands there twice")
        paths[mixture] = path
    if not paths:
        raise DataError(f"{scp} lists no mixture; prepare the data again ({URL})")
    return paths


def _turns(rttm: Path) -> dict[str, list[tuple[float, float, str]]]:
    """(start, duration, speaker) of every turn by mixture, in seconds; turns of no length are left out."""
    turns: defaultdict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for number, line in _lines(rttm):
        kind, *fields = line.split()
        if kind != "SPEAKER":
            continue
        try:
            mixture, _, start, duration, _, _, speaker = fields[:7]
            times = float(start), float(duration)
        except ValueError:
            times = math.nan, math.nan
        if not all(math.isfinite(time) and time >= 0 for time in times):
            form = "SPEAKER MIXTURE 1 START DURATION <NA> <NA> NAME <NA>"
            raise DataError(f"{rttm}, line {number}: {line!r} is not of the form {form!r}, times in seconds")
        if times[1] > 0:
            turns[mixture].append((*times, speaker))
    return turns


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, line) of a list, tabs as spaces, without empty lines."""
    if not path.is_file():
        raise DataError(f"no {path}: each split of LibriMix-SD has wav.scp and rttm. Prepare the data as {URL} says")
    try:
        content = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); prepare the data again ({URL})") from error
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            yield number, line.replace("\t", " ").strip()


def _check_complete(folder: Path, paths: dict[str, str], turns: dict[str, list[tuple[float, float, str]]]) -> None:
    problems = []
    if silent := sorted(paths.keys() - turns.keys()):
        problems.append(f"mixtures of wav.scp without a turn in rttm: {_some(silent)}")
    if unheard := sorted(turns.keys() - paths.keys()):
        problems.append(f"mixtures of rttm that wav.scp does not list: {_some(unheard)}")
    if problems:
        raise DataError(f"{folder} is incomplete ({'; '.join(problems)}); prepare the data again ({URL})")


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else "")


def _found(path: str, folder: Path) -> Path:
    """The file that a path of a split's ``wav.scp`` means."""
    beside = folder.parent.parent
    candidates = [base / path for base in (folder, folder.parent, beside)]
    parts = Path(path).parts
    if MIXTURES in parts:
        candidates.append(beside.joinpath(*parts[parts.index(MIXTURES) :]))
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise DataError(
        f"no audio file {path} ({folder / 'wav.scp'}): relative paths start at {folder}, {folder.parent} or {beside}. "
        f"Correct the list, or put {MIXTURES}/ into {beside}"
    )
