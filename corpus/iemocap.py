"""IEMOCAP (Busso et al., 2008) as Lhotse cuts, one an utterance, under IEMOCAP's own names.

Layout: ``IEMOCAP_full_release/Session{1…5}/dialog/EmoEvaluation/DIALOG.txt``, whose lines ``[START - END] UTTERANCE EMOTION [V, A, D]``
hold what the annotators agreed on, and ``Session{1…5}/sentences/wav/DIALOG/UTTERANCE.wav``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.errors import DataError
from corpus.locate import Source, locate
from corpus.whole_file import whole_file

if TYPE_CHECKING:
    from lhotse import CutSet

SESSIONS = (1, 2, 3, 4, 5)
"""Two speakers each, none in two of them."""

EMOTIONS = ("neu", "hap", "ang", "sad")
"""The four classes of the usual evaluation, in SUPERB's order."""

MERGED = {"exc": "hap"}
"""Emotions that count as another one. What is neither here nor in `EMOTIONS` is left out."""

URL = "https://sail.usc.edu/iemocap"
SOURCES = tuple(Source(folder, tuple(f"Session{n}" for n in SESSIONS), URL) for folder in ("IEMOCAP_full_release", "IEMOCAP"))
"""The folder under the archive's own name, and under that of s3prl's documentation."""

_LINE = re.compile(r"\[[^\]]*\]\s+(?P<dialog>(?P<session>Ses\d\d)\S+)_(?P<turn>(?P<speaker>[FM])\w+)\s+(?P<emotion>\w+)(\s|$)")


@dataclass(frozen=True)
class Turn:
    """A line of an evaluation.

    Attributes:
        path: of the audio, below the data set's folder.
        emotion: one of `EMOTIONS`.
        where: file and line that say so.
    """

    utt_id: str
    path: str
    speaker: str
    emotion: str
    where: str


def find(data: Path | str) -> Path:
    """IEMOCAP's folder in `data`, or `data` itself. Raises DataError where it is neither."""
    named = [source for source in SOURCES if (Path(data) / source.folder).is_dir()]
    return locate((named or SOURCES)[0], data)


def read(root: Path | str, sessions: Sequence[int]) -> CutSet:
    """The utterances of some sessions that have one of the four `EMOTIONS`: session by session, dialogs by name, turns as listed.

    A cut's supervision has the speaker ("Ses01F": the woman of session 1) and, in ``custom``, the `emotion`.

    Args:
        root: IEMOCAP's folder.
        sessions: of `SESSIONS`.
    Raises:
        DataError: a session without evaluations or without one of these emotions, a line of another form, an utterance listed
            twice, or audio that is missing or broken.
    """
    from lhotse import CutSet

    root = Path(root).resolve()
    turns: dict[str, Turn] = {}
    for turn in (turn for session in sessions for turn in _turns(root, session)):
        if turn.utt_id in turns:
            raise DataError(f"{turn.where}: {turn.utt_id} stands in {turns[turn.utt_id].where} already; take one line out")
        turns[turn.utt_id] = turn
    return CutSet.from_cuts(
        whole_file(root / turn.path, turn.utt_id, turn.where, speaker=turn.speaker, labels={"emotion": turn.emotion})
        for turn in turns.values()
    )


def read_without(root: Path | str, session: int) -> CutSet:
    """The utterances of all other sessions, in the order of s3prl's list where the folder holds that, else in that of `read`.

    The list is ``meta_data/SessionN/train_meta_data.json``, as s3prl ships it or makes it: its dialogs lie in the order of a disk.

    Raises:
        DataError: as `read`; or the list is broken, or names other utterances.
    """
    from lhotse import CutSet

    root = Path(root)
    cuts = read(root, [other for other in SESSIONS if other != session])
    path = root / "meta_data" / f"Session{session}" / "train_meta_data.json"
    if not path.is_file():
        return cuts
    try:
        named = [Path(row["path"]).stem for row in json.loads(path.read_text(encoding="utf-8"))["meta_data"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no list of s3prl's ({{'meta_data': [{{'path': …}}, …]}}); fetch it again or delete it") from error
    if sorted(named) != sorted(cuts.ids):
        example = next(iter(sorted(set(named) ^ set(cuts.ids))), "one twice")
        raise DataError(f"{path} does not name the utterances that the evaluations name ({example}); fetch it again or delete it")
    by_id = {cut.id: cut for cut in cuts}
    return CutSet.from_cuts(by_id[utt_id] for utt_id in named)


def _turns(root: Path, session: int) -> Iterator[Turn]:
    folder = root / f"Session{session}" / "dialog" / "EmoEvaluation"
    if not folder.is_dir():
        raise DataError(f"no folder {folder}; unpack all of IEMOCAP's Session{session} ({URL})")
    found = False
    for path in sorted(folder.glob("Ses*.txt")):
        for turn in _evaluation(path, f"Session{session}"):
            found = True
            yield turn
    if not found:
        raise DataError(f"no utterance in {folder}/Ses*.txt is {', '.join((*EMOTIONS, *MERGED))}; unpack Session{session} again ({URL})")


def _evaluation(path: Path, session: str) -> Iterator[Turn]:
    """The turns of a dialog that have one of the four emotions; single annotators' lines follow each and are passed over."""
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not line.startswith("["):
            continue
        where = f"{path}, line {number}"
        parts = _LINE.match(line)
        if parts is None:
            raise DataError(f"{where}: a turn is '[START - END] UTTERANCE EMOTION [V, A, D]'; unpack {session} again ({URL})")
        emotion = MERGED.get(parts["emotion"], parts["emotion"])
        if emotion in EMOTIONS:
            utt_id = f"{parts['dialog']}_{parts['turn']}"
            wav = f"{session}/sentences/wav/{parts['dialog']}/{utt_id}.wav"
            yield Turn(utt_id, wav, parts["session"] + parts["speaker"], emotion, where)
