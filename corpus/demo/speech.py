"""Speech from eSpeak NG voices, made by processes of its own: what every demo edition stands on."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from corpus.demo.phones import to_arpabet
from corpus.errors import DataError

SAMPLE_RATE = 16_000
_PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Utterance:
    """What to say, how, and where to put it.

    Attributes:
        path: of the audio file, below the root; the suffix (.flac, .wav) is its format, always 16-bit, 16 kHz, mono.
        text: the words.
        voice: eSpeak NG base voice and variant, "en-us+ed".
        rate: words a minute, 80 to 450.
        pitch, range: 0 to 99; 50 is the voice's own.
        pad: seconds of silence before and after.
        snr_db: pink noise this far below the speech; None for none.
        seed: of the noise.
    """

    path: str
    text: str
    voice: str
    rate: int = 130
    pitch: int = 50
    range: int = 50
    pad: float = 0.1
    snr_db: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Spoken:
    """What was said.

    Attributes:
        utterance: what was asked for.
        samples: length of the audio at 16 kHz.
        phones: (ARPAbet phone, start, end) in seconds, without gaps over the whole audio; SIL for a pause.
        words: (word, start, end) in seconds.
    """

    utterance: Utterance
    samples: int
    phones: tuple[tuple[str, float, float], ...]
    words: tuple[tuple[str, float, float], ...]

    @property
    def seconds(self) -> float:
        return self.samples / SAMPLE_RATE


def synthesizer() -> str:
    """Name and version of the synthesizer, part of the key of all that it makes.

    Raises: DataError: when it is not installed.
    """
    _loader()
    return f"espeakng-loader {importlib.metadata.version('espeakng-loader')}"


def check_voices(names: Sequence[str]) -> None:
    """Refuse voices whose variant eSpeak NG does not have: it would speak the plain voice without a word.

    Raises: DataError: when a variant is unknown (names it).
    """
    variants = {path.name for path in _data_path().joinpath("voices", "!v").iterdir()}
    for name in dict.fromkeys(names):
        _, plus, variant = name.partition("+")
        if plus and variant not in variants:
            raise DataError(f"eSpeak NG has no variant {variant!r} (voice {name!r}). It has: {', '.join(sorted(variants))}")


def _loader() -> str:
    """The file of espeakng_loader: found, not imported, so that the library stays out of this process."""
    spec = importlib.util.find_spec("espeakng_loader")
    if spec is None or spec.origin is None:
        raise DataError("the demo corpora need eSpeak NG, which is not installed. Install it with: pip install 'weir[demo]'")
    return spec.origin


def _data_path() -> Path:
    return Path(_loader()).parent / "espeak-ng-data"


def speak(lists: Sequence[Sequence[Utterance]], root: Path, progress: Callable[[], object] = lambda: None) -> list[list[Spoken]]:
    """Write the audio of all utterances below `root`, each list by a fresh process, as many at a time as there are cores.

    The same lists give the same bytes; the same utterances in other lists do not.

    Args:
        progress: called after each utterance, from several threads.
    Raises: DataError: when eSpeak NG is not installed, or refuses a voice.
    """
    check_voices([utterance.voice for utterances in lists for utterance in utterances])
    with ThreadPoolExecutor(max_workers=_cores()) as pool:
        futures = [pool.submit(_speak_list, utterances, root, progress) for utterances in lists]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _speak_list(utterances: Sequence[Utterance], root: Path, progress: Callable[[], object]) -> list[Spoken]:
    paths = [str(_PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "corpus.demo.worker"]
    work = json.dumps({"root": str(root.resolve()), "utterances": [asdict(utterance) for utterance in utterances]})
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=_PROJECT, env=environment, encoding="utf-8", stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        with contextlib.suppress(BrokenPipeError):  # it ended early: its complaint is read below
            process.stdin.write(work)
            process.stdin.close()
        spoken: list[Spoken] = []
        for line in process.stdout:
            spoken.append(_spoken(utterances[len(spoken)], json.loads(line)))
            progress()
        complaint = process.stderr.read().strip()
    if process.returncode != 0 or len(spoken) != len(utterances):
        reason = complaint.splitlines()[-1] if complaint else f"exit status {process.returncode}"
        raise DataError(f"eSpeak NG stopped after {len(spoken)} of {len(utterances)} utterances: {reason}")
    return spoken


def _spoken(utterance: Utterance, said: dict) -> Spoken:
    seconds = said["samples"] / SAMPLE_RATE
    named = [(to_arpabet(name), min(start, seconds)) for name, start in said["phones"]]
    named = [(parts, start) for parts, start in named if parts]
    phones = [("SIL", 0.0, round(named[0][1], 4))]
    for (parts, start), end in zip(named, [*(start for _, start in named[1:]), seconds], strict=True):
        if parts in (["SIL"], ["R"]) and parts == [phones[-1][0]]:  # one pause, or an R and its linking R
            phones[-1] = (*phones[-1][:2], round(end, 4))
            continue
        step = (end - start) / len(parts)
        phones += [(part, round(start + i * step, 4), round(start + (i + 1) * step, 4)) for i, part in enumerate(parts)]
    speech_end = max((end for phone, _, end in phones if phone != "SIL"), default=seconds)
    return Spoken(utterance, said["samples"], tuple(phones), tuple(_words(utterance.text, said["words"], speech_end)))


def _words(text: str, events: list, speech_end: float) -> Iterator[tuple[str, float, float]]:
    """Words from their events. Words that eSpeak NG runs together have one event: they share its time by their letters."""
    following = [*events[1:], (len(text), speech_end)]
    for (position, start), (next_position, end) in zip(events, following, strict=True):
        together = text[position:next_position].split()
        letters = sum(map(len, together))
        for word in together:
            word_end = start + (end - start) * len(word) / letters
            yield word, round(start, 4), round(word_end, 4)
            start, letters = word_end, letters - len(word)
