"""Speech Commands v0.01 (Warden, 2018, arXiv 1804.03209) as Lhotse cuts: clips of one word each, and minutes of background noise.

Layout: ``speech_commands_v0.01/WORD/VOICE_nohash_N.wav`` and ``_background_noise_/*.wav``; the test set is an archive of its own,
``speech_commands_test_set_v0.01/CLASS/*.wav``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from corpus.errors import DataError
from corpus.locate import Source, locate
from corpus.whole_file import whole_file

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import MonoCut

KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
UNKNOWN, SILENCE = "_unknown_", "_silence_"
NOISES = "_background_noise_"

_URL = "http://download.tensorflow.org/data/"
SOURCE = Source("speech_commands_v0.01", (NOISES, "validation_list.txt", "testing_list.txt"), _URL + "speech_commands_v0.01.tar.gz")
TEST_SOURCE = Source("speech_commands_test_set_v0.01", (UNKNOWN, SILENCE), _URL + "speech_commands_test_set_v0.01.tar.gz")

_VOICE_ENDS = "_nohash_"
_HASHES = 2**27

Part = Literal["train", "dev", "test"]


def find(source: Source, data: Path | str) -> Path:
    """The folder of one of the two archives: in `data`, `data` itself, or beside it where `data` is the other one.

    Raises:
        DataError: it is in none of these places.
    """
    data = Path(data)
    other = SOURCE if source is TEST_SOURCE else TEST_SOURCE
    if any((data / name).exists() for name in other.inside):
        data = data.resolve().parent
    return locate(source, data)


def part(file_name: str) -> Part:
    """The split of a clip by the data set's rule: a hash of its voice, so that all clips of a voice are on one side.

    Says the same as ``validation_list.txt`` and ``testing_list.txt``, which the rule made. Source: the data set's README,
    ``which_set``.
    """
    voice = file_name.partition(_VOICE_ENDS)[0]
    percent = int(hashlib.sha1(voice.encode()).hexdigest(), 16) % _HASHES * 100 / (_HASHES - 1)
    return "dev" if percent < 10 else "test" if percent < 20 else "train"


def read(root: Path | str, split: Part) -> CutSet:
    """The words of a split of the first archive, sorted by id.

    Each cut is called ``WORD/FILE`` without the suffix and has one supervision with the word as text, and the voice as speaker
    where the file's name tells it.

    Args:
        root: the folder ``speech_commands_v0.01``.
        split: SUPERB trains on `train`, selects on `dev` and leaves `test` out: the other archive is its test set.
    Raises:
        DataError: no clip of the split, or one that is not audio.
    """
    return _cuts(root, [path for path in _clips(root) if path.parent.name[0] != "_" and part(path.name) == split], SOURCE, f" of {split}")


def read_test(root: Path | str) -> CutSet:
    """The clips of the test archive, sorted by id; named and labelled as in `read`, the folder being the text: a word or a class.

    Raises:
        DataError: no clip, or one that is not audio.
    """
    return _cuts(root, list(_clips(root)), TEST_SOURCE)


def noises(root: Path | str) -> list[MonoCut]:
    """The background noises of the first archive, whole files, sorted by id; `SILENCE` is their text. May be none.

    Raises:
        DataError: a file is not audio.
    """
    return [_cut(path, SILENCE) for path in _clips(root) if path.parent.name == NOISES]


def divide(noise: MonoCut) -> tuple[MonoCut, list[MonoCut]]:
    """A noise without its last fifth, and that in pieces of a second, ID#1, ID#2, …; none of a noise below two seconds."""
    pieces = max(1, int(noise.duration / 5)) if noise.duration >= 2 else 0
    first = noise.duration - pieces
    rest = noise.truncate(duration=first, preserve_id=True)
    return rest, [noise.truncate(offset=first + index, duration=1.0).with_id(f"{noise.id}#{index + 1}") for index in range(pieces)]


def _clips(root: Path | str) -> Iterator[Path]:
    """All audio files of an archive, by folder and name."""
    for path in sorted(Path(root).resolve().glob("*/*.wav")):
        if not path.name.startswith(".") and not path.parent.name.startswith("."):
            yield path


def _cuts(root: Path | str, clips: list[Path], source: Source, of: str = "") -> CutSet:
    from lhotse import CutSet

    if not clips:
        raise DataError(f"no clip{of} in {root}: expected {Path(root) / 'WORD' / '*.wav'}. Get the data from {source.url}")
    return CutSet.from_cuts(_cut(path, path.parent.name) for path in clips)


def _cut(path: Path, text: str) -> MonoCut:
    """A whole file; its voice is the speaker where the name tells it."""
    voice, named, _ = path.name.partition(_VOICE_ENDS)
    return whole_file(path, f"{path.parent.name}/{path.stem}", str(path.parent), text=text, speaker=voice if named else None)
