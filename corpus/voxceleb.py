"""VoxCeleb1 (Nagrani et al., 2017) as Lhotse cuts, one a file, called ``SPEAKER-VIDEO-UTTERANCE`` as in s3prl.

Layout: ``VoxCeleb1/{dev,test}/wav/idNNNNN/VIDEO/NNNNN.wav``, or all speakers in ``VoxCeleb1/wav/``; beside them the published lists
of the identification split and of the verification trials, which name a file by its last three parts.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import random
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from corpus.cache import cache_dir
from corpus.errors import DataError
from corpus.files import write_atomically
from corpus.locate import Source

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import MonoCut

logger = logging.getLogger(__name__)

URL = "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox1.html"
FOLDERS = ("dev/wav", "test/wav", "wav")
"""Where a file is looked for, in this order."""

SPLIT_LISTS = ("iden_split.txt", "veri_test_class.txt")
"""The identification split: the publisher's name, and s3prl's."""

TRIAL_LISTS = ("voxceleb1_test_v2.txt", "veri_test2.txt", "veri_test.txt")
"""Verification trials; the first that is there counts."""

SOURCE = Source("VoxCeleb1", (*FOLDERS, *SPLIT_LISTS, *TRIAL_LISTS), URL)

CODES = {"train": "1", "dev": "2", "test": "3"}
"""How the identification list names its splits."""

FORMAT = 1
"""Of the cached headers; a new number reads everything again."""

READERS = 8
"""Threads that read headers: they wait for the disk most of the time."""

_NAME = re.compile(r"id\d+/[^/]+/[^/-]+\.wav")
T = TypeVar("T")


@dataclass(frozen=True)
class Trial:
    """Two utterances, by id, and whether one speaker says both."""

    first: str
    second: str
    same: bool


class File(NamedTuple):
    """An audio file of the data set.

    Attributes:
        folder: the one of `FOLDERS` that holds it.
        name: ``SPEAKER/VIDEO/UTTERANCE.wav``, as in the lists.
        size, modified: bytes, and nanoseconds since 1970.
    """

    folder: str
    name: str
    size: int
    modified: int


class Header(NamedTuple):
    """What the header of an audio file says, and of which state of the file."""

    size: int
    modified: int
    samples: int
    rate: int
    channels: int


class VoxCeleb1:
    """A folder of VoxCeleb1: walked once, each list read when it is asked for.

    The headers of the audio are read once, then taken from the cache for as long as a file keeps its size and time.

    Args:
        root: the folder ``VoxCeleb1``.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).resolve()

    @functools.cached_property
    def files(self) -> dict[str, File]:
        """The files by name, from the first folder that has them. Raises DataError where there is none."""
        found: dict[str, File] = {}
        strange: list[str] = []
        for folder in FOLDERS:
            for file in _walk(self.root / folder, folder):
                if _NAME.fullmatch(file.name):
                    found.setdefault(file.name, file)
                else:
                    strange.append(f"{folder}/{file.name}")
        if strange:
            logger.warning("%d files of %s are left out, such as %s: not SPEAKER/VIDEO/UTTERANCE.wav", len(strange), self.root, strange[0])
        if not found:
            raise DataError(f"no idNNNNN/VIDEO/NNNNN.wav in {', '.join(FOLDERS)} of {self.root}; unpack VoxCeleb1 from {URL} there")
        return found

    def identification(self, split: str, path: Path | None = None) -> CutSet:
        """The utterances of a split of the identification list, sorted by id.

        Args:
            split: "train", "dev" or "test".
            path: another list of this form; relative paths start at `root`.
        Raises:
            DataError: no list, a line of another form, a name listed twice, a listed file that is missing, or an empty split.
        """
        path = self._list(SPLIT_LISTS, path)
        names: dict[str, None] = {}
        for code, name in _lines(path, _listed):
            if code == CODES[split] and name in names:
                raise DataError(f"{path} lists {name} twice; take one line out")
            if code == CODES[split]:
                names[name] = None
        if not names:
            raise DataError(f"{path} has no line '{CODES[split]} SPEAKER/VIDEO/UTTERANCE.wav': the split {split} is empty")
        return self.cuts(names, path)

    def trials(self, path: Path | None = None) -> list[Trial]:
        """The verification trials, in the order of their list.

        Args:
            path: another list of this form; relative paths start at `root`.
        Raises:
            DataError: no list, a line of another form, a missing file, or trials of one kind alone.
        """
        path = self._list(TRIAL_LISTS, path)
        rows = list(_lines(path, _trial))
        self._check_there({name for _, first, second in rows for name in (first, second)}, path)
        if len({same for same, *_ in rows}) < 2:
            raise DataError(f"{path} needs trials of both kinds, '1 A B' for one speaker and '0 A B' for two")
        return [Trial(utterance_id(first), utterance_id(second), same) for same, first, second in rows]

    def trial_speakers(self, path: Path | None = None) -> set[str]:
        """The speakers of a list of trials, whether their files are there or not; none where there is no list."""
        if path is None and not any((self.root / name).is_file() for name in TRIAL_LISTS):
            return set()
        rows = _lines(self._list(TRIAL_LISTS, path), _trial)
        return {speaker_of(name) for _, *sides in rows for name in sides}

    def training(self, trials: Path | None = None) -> CutSet:
        """What verification trains on, sorted by id: every file in ``dev/wav``.

        Where all speakers are in ``wav/``, those of the trials are left out.

        Args:
            trials: the list of trials, where it is not the published one.
        """
        names = {name for name, file in self.files.items() if file.folder == "dev/wav"}
        if not names:
            tested = self.trial_speakers(self._list(TRIAL_LISTS, trials))
            names = {name for name, file in self.files.items() if file.folder == "wav" and speaker_of(name) not in tested}
        if not names:
            raise DataError(f"no training speakers in {self.root}: expected them in dev/wav, or beside those of the trials in wav")
        return self.cuts(names, self.root)

    def utterances(self, utt_ids: Collection[str]) -> CutSet:
        """The cuts of these utterances, sorted by id."""
        return self.cuts({file_name(utt_id) for utt_id in utt_ids}, self.root)

    def cuts(self, names: Collection[str], source: Path) -> CutSet:
        """The cuts of these files, sorted by id.

        Args:
            source: what named them, for errors.
        """
        from lhotse import CutSet

        self._check_there(names, source)
        headers = self._headers([self.files[name] for name in names])
        cuts = [_cut(self._path(self.files[name]), name, header) for name, header in headers.items()]
        return CutSet.from_cuts(sorted(cuts, key=lambda cut: cut.id))

    def _path(self, file: File) -> Path:
        return self.root / file.folder / file.name

    def _list(self, names: Sequence[str], chosen: Path | None) -> Path:
        candidates = [self.root / name for name in ((chosen,) if chosen else names)]
        for path in candidates:
            if path.is_file():
                return path
        raise DataError(f"no {' or '.join(str(path) for path in candidates)}; get the list from {URL}")

    def _check_there(self, names: Collection[str], source: Path) -> None:
        missing = sorted(name for name in names if name not in self.files)
        if missing:
            others = f" and {len(missing) - 1} more" if missing[1:] else ""
            raise DataError(f"{source} names {missing[0]}{others}, not found in {', '.join(FOLDERS)} of {self.root}; unpack it from {URL}")

    def _headers(self, files: Sequence[File]) -> dict[str, Header]:
        """The headers of files by name; those that are not in the cache, or not as they are now, are read and put there."""
        place = cache_dir() / "manifests" / f"voxceleb1-{hashlib.sha256(f'{FORMAT} {self.root}'.encode()).hexdigest()[:24]}.json"
        kept = {name: Header(*header) for name, header in json.loads(place.read_bytes()).items()} if place.exists() else {}
        known = {file.name: header for file in files if (header := kept.get(_key(file))) and header[:2] == (file.size, file.modified)}
        new = [file for file in files if file.name not in known]
        if not new:
            return known
        logger.info("reading the headers of %d files of %s (once, then from the cache)", len(new), self.root)
        with ThreadPoolExecutor(READERS) as pool:
            read = list(pool.map(lambda file: _header(self._path(file), file), new))
        still_there = {_key(file) for file in self.files.values()}
        kept = {key: header for key, header in kept.items() if key in still_there}
        write_atomically(place, json.dumps(kept | dict(zip(map(_key, new), read, strict=True))))
        return known | {file.name: header for file, header in zip(new, read, strict=True)}


def utterance_id(name: str) -> str:
    """``SPEAKER-VIDEO-UTTERANCE`` of ``SPEAKER/VIDEO/UTTERANCE.wav``."""
    return name.removesuffix(".wav").replace("/", "-")


def file_name(utt_id: str) -> str:
    """``SPEAKER/VIDEO/UTTERANCE.wav`` of ``SPEAKER-VIDEO-UTTERANCE``, whatever dashes the video's name has."""
    speaker, _, rest = utt_id.partition("-")
    video, _, utterance = rest.rpartition("-")
    return f"{speaker}/{video}/{utterance}.wav"


def speaker_of(name: str) -> str:
    """The speaker of a file, by its name in the lists or by its utterance id."""
    return re.split("[/-]", name, maxsplit=1)[0]


def drawn_trials(utt_ids: Iterable[str], limit: int, key: str) -> list[Trial]:
    """Trials among utterances, as many of one speaker as of two, the same for the same utterances and key.

    Those of one speaker come from two videos where the speaker has them, as in the published trials.

    Args:
        limit: trials at most; fewer where the utterances do not give as many different ones.
    """
    generator = random.Random(key)
    videos: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for utt_id in sorted(utt_ids):
        videos[speaker_of(utt_id)][utt_id.rpartition("-")[0]].append(utt_id)
    own = {speaker: [utt_id for some in found.values() for utt_id in some] for speaker, found in videos.items()}
    everyone, several = list(own), [speaker for speaker, found in own.items() if len(found) > 1]
    pairs: dict[bool, dict[tuple[str, str], None]] = {True: {}, False: {}}
    for _ in range(limit // 2 if several and len(everyone) > 1 else 0):
        of_one = list(videos[generator.choice(several)].values())
        chosen = generator.sample(of_one, 2) if len(of_one) > 1 else None
        first, second = map(generator.choice, chosen) if chosen else generator.sample(of_one[0], 2)
        pairs[True][min(first, second), max(first, second)] = None
        first, second = (generator.choice(own[speaker]) for speaker in generator.sample(everyone, 2))
        pairs[False][min(first, second), max(first, second)] = None
    count = min(map(len, pairs.values()))
    return [Trial(*pair, same) for same, some in pairs.items() for pair in list(some)[:count]]


def _walk(top: Path, folder: str) -> Iterator[File]:
    """The .wav files below a folder; hidden names are none."""
    pending = [(str(top), "")] if top.is_dir() else []
    while pending:
        place, prefix = pending.pop()
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    pending.append((entry.path, f"{prefix}{entry.name}/"))
                elif entry.name.endswith(".wav"):
                    state = entry.stat()
                    yield File(folder, prefix + entry.name, state.st_size, state.st_mtime_ns)


def _lines(path: Path, parse: Callable[[list[str]], T | None]) -> Iterator[T]:
    """What `parse` makes of the words of each line; it gives None for a line of another form."""
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        row = parse(line.split())
        if row is None:
            raise DataError(f"{path}, line {number}: {line.strip()!r} is none of its lines; get the list again from {URL}")
        yield row


def _listed(words: list[str]) -> tuple[str, str] | None:
    """(code, name) of a line of the identification list."""
    if len(words) != 2 or words[0] not in CODES.values() or not _NAME.fullmatch(words[1]):
        return None
    return words[0], words[1]


def _trial(words: list[str]) -> tuple[bool, str, str] | None:
    """(one speaker, name, name) of a line of a list of trials."""
    if len(words) != 3 or words[0] not in ("0", "1") or not all(_NAME.fullmatch(name) for name in words[1:]):
        return None
    return words[0] == "1", words[1], words[2]


def _key(file: File) -> str:
    return f"{file.folder}/{file.name}"


def _header(path: Path, file: File) -> Header:
    import soundfile

    try:
        info = soundfile.info(path)
    except soundfile.LibsndfileError as error:
        raise DataError(f"{path}: not a WAV file, or damaged ({error.error_string}); unpack it again from {URL}") from error
    if info.frames == 0:
        raise DataError(f"{path}: no samples; unpack it again from {URL}")
    return Header(file.size, file.modified, info.frames, info.samplerate, info.channels)


def _cut(path: Path, name: str, header: Header) -> MonoCut:
    from lhotse import AudioSource, Recording, SupervisionSegment
    from lhotse.cut import MonoCut

    utt_id, duration, channels = utterance_id(name), header.samples / header.rate, list(range(header.channels))
    recording = Recording(utt_id, [AudioSource("file", channels, str(path))], header.rate, header.samples, duration, channels)
    supervision = SupervisionSegment(utt_id, utt_id, 0.0, duration, speaker=speaker_of(name))
    return MonoCut(utt_id, start=0.0, duration=duration, channel=0, recording=recording, supervisions=[supervision])
