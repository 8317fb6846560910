"""Miniature IEMOCAP: a woman and a man in each of five sessions, eSpeak NG voices in neutral, happy, angry and sad prosody.

Every speaker says the same sentences in every emotion, so that words tell nothing of it. All voices are of held-out groups, since
each session is a test fold. Below the folder made: `IEMOCAP_full_release/Session{1…5}/` with `dialog/EmoEvaluation/DIALOG.txt` and
`sentences/wav/DIALOG/UTTERANCE.wav`; as in the real data, some utterances have labels that the four-class evaluation leaves out.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from corpus.demo import building, text, voices
from corpus.demo.speech import Spoken, Utterance

_KEY = "miniature iemocap 1"
FOLDER = "IEMOCAP_full_release"
_GROUPS = ("dev", "test", "dev-other", "test-other")
# Utterances for one speaking process. The lists are part of the recipe: other lists, other bytes.
LIST_SIZE = 60
_PAUSE = 0.4  # seconds between turns


@dataclass(frozen=True)
class Prosody:
    """How an emotion sounds, and what annotators make of it.

    Attributes:
        rate, pitch, range: eSpeak NG's; an utterance lies a few points around them.
        labels: what the evaluations say, in turn.
        category: the annotators' word.
        attributes: valence, activation and dominance, 1 to 5.
    """

    rate: int
    pitch: int
    range: int
    labels: tuple[str, ...]
    category: str
    attributes: tuple[float, float, float]


EMOTIONS = (
    Prosody(114, 45, 40, ("neu",), "Neutral state", (3.0, 2.5, 2.5)),
    Prosody(132, 85, 97, ("hap", "exc"), "Happiness", (4.0, 3.5, 3.0)),
    Prosody(162, 61, 72, ("ang",), "Anger", (1.5, 4.0, 4.0)),
    Prosody(85, 17, 4, ("sad",), "Sadness", (2.0, 2.0, 2.0)),
)
OTHERS = Prosody(138, 55, 50, ("fru", "sur", "xxx"), "Frustration", (2.0, 3.0, 3.0))
"""What the evaluation leaves out."""


@dataclass(frozen=True)
class Size:
    """How much is said: sentences that each speaker says in every emotion, and utterances of `OTHERS` by each."""

    sentences: int
    others: int


FULL = Size(sentences=10, others=3)
TINY = Size(sentences=1, others=1)
"""The same in seconds, for tests."""

PAIRS = (("Annie", "ed"), ("linda", "john"), ("f3", "edward2"), ("f4", "Alex"), ("aunty", "Gene"))
"""The woman and the man of each session, by eSpeak NG variant."""


@dataclass(frozen=True)
class Turn:
    """An utterance and its label."""

    utterance: Utterance
    label: str
    prosody: Prosody

    @property
    def name(self) -> str:
        return Path(self.utterance.path).stem


def make(cache: Path, size: Size = FULL) -> Path:
    """The folder that holds `IEMOCAP_full_release/`, made now or found in `cache`.

    Raises: DataError: when eSpeak NG is not installed.
    """
    planned = plan(size)
    utterances = [turn.utterance for turns in planned.values() for turn in turns]

    def finish(folder: Path, spoken: list[Spoken]) -> None:
        seconds = {said.utterance.path: said.seconds for said in spoken}
        for dialog, turns in planned.items():
            path = folder / FOLDER / _session(dialog) / "dialog" / "EmoEvaluation" / f"{dialog}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_evaluation(turns, seconds), encoding="utf-8", newline="\n")

    return building.build(cache, "iemocap", building.chunks(utterances, LIST_SIZE), finish)


def plan(size: Size = FULL) -> dict[str, list[Turn]]:
    """The turns of each dialog, the woman's before the man's, as in the real lists. Each session has two dialogs."""
    by_variant = {voice.variant: voice for group in _GROUPS for voice in voices.group(group)}
    planned: dict[str, list[Turn]] = {}
    for number, pair in enumerate(PAIRS, 1):
        dialogs = [f"Ses{number:02}F_impro01", f"Ses{number:02}M_impro01"]
        planned |= {dialog: [] for dialog in dialogs}
        for gender, variant in zip("FM", pair, strict=True):
            said = list(_sayings(by_variant[variant], size))
            half = (len(said) + 1) // 2
            for dialog, part in zip(dialogs, (said[:half], said[half:]), strict=True):
                planned[dialog] += [_turn(by_variant[variant], f"{dialog}_{gender}{i:03}", *saying) for i, saying in enumerate(part)]
    return planned


def _sayings(voice: voices.Voice, size: Size) -> Iterator[tuple[str, Prosody, str]]:
    """(sentence, prosody, label) of all that a speaker says, in an order of their own."""
    sentences = text.EVERYDAY.draw(size.sentences, f"{_KEY} sentences")
    said = [
        (sentence, prosody, prosody.labels[index % len(prosody.labels)]) for prosody in EMOTIONS for index, sentence in enumerate(sentences)
    ]
    said += [(sentences[i % len(sentences)], OTHERS, OTHERS.labels[i % len(OTHERS.labels)]) for i in range(size.others)]
    random.Random(f"{_KEY} order {voice.variant}").shuffle(said)
    yield from said


def _turn(voice: voices.Voice, name: str, sentence: str, prosody: Prosody, label: str) -> Turn:
    generator, dialog = random.Random(f"{_KEY} {name}"), name.rpartition("_")[0]
    utterance = Utterance(
        path=f"{FOLDER}/{_session(dialog)}/sentences/wav/{dialog}/{name}.wav",
        text=sentence,
        voice=voice.name,
        rate=prosody.rate + generator.randint(-6, 6),
        pitch=prosody.pitch + generator.randint(-5, 5),
        range=min(99, max(0, prosody.range + generator.randint(-5, 5))),
        snr_db=generator.randint(35, 50),
        seed=generator.randrange(2**32),
    )
    return Turn(utterance, label, prosody)


def _session(dialog: str) -> str:
    """ "Ses03F_impro01" is of Session3."""
    return f"Session{int(dialog[3:5])}"


def _evaluation(turns: Sequence[Turn], seconds: dict[str, float]) -> str:
    """The text of a dialog's evaluation, in the published form: under each turn what an annotator said of it."""
    times, now = {}, 0.0
    women, men = ([turn for turn in turns if turn.name[-4] == gender] for gender in "FM")
    for turn in (turn for exchange in zip_longest(women, men) for turn in exchange if turn is not None):
        end = now + seconds[turn.utterance.path]
        times[turn.name], now = f"[{now:.4f} - {end:.4f}]", end + _PAUSE
    lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
    for turn in turns:
        attributes = ", ".join(f"{value:.4f}" for value in turn.prosody.attributes)
        lines += [f"{times[turn.name]}\t{turn.name}\t{turn.label}\t[{attributes}]", f"C-E1:\t{turn.prosody.category};\t()", ""]
    return "\n".join(lines)
