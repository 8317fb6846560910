"""Miniature Fluent Speech Commands: orders to a home by eSpeak NG voices, in the data set's own layout.

All 31 intents of the real set (6 actions, 14 objects, 4 locations), each in two wordings of our own. Below the folder made:
`fluent_speech_commands_dataset/` with `data/{train,valid,test}_data.csv` and `wavs/speakers/SPEAKER/`.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from corpus.demo import building, voices
from corpus.demo.speech import Spoken, Utterance

_KEY = "miniature fluent speech commands 1"
# Utterances for one speaking process. The lists are part of the recipe: other lists, other bytes.
LIST_SIZE = 60

FOLDER = "fluent_speech_commands_dataset"
_COLUMNS = ("", "path", "speakerId", "transcription", "action", "object", "location")
_NOWHERE = "none"
_ROOMS = (_NOWHERE, "kitchen", "bedroom", "washroom")


@dataclass(frozen=True)
class Command:
    """Words and their meaning."""

    text: str
    action: str
    object: str
    location: str = _NOWHERE


@dataclass(frozen=True)
class Split:
    """One list: which group of voices says how many commands each; `speakers` is how many of them, None for all."""

    name: str
    group: str
    per_speaker: int
    speakers: int | None = None

    def readers(self) -> list[voices.Voice]:
        """The voices that speak."""
        return voices.group(self.group)[: self.speakers]


SPLITS = (Split("train", "train", 12), Split("valid", "dev", 15), Split("test", "test", 15))
# The same in a second, for tests.
TINY = (Split("train", "train", 62, speakers=1), Split("valid", "dev", 3, speakers=1), Split("test", "test", 3, speakers=1))


def make(cache: Path, splits: Sequence[Split] = SPLITS) -> Path:
    """The folder that holds `fluent_speech_commands_dataset/`, made now or found in `cache`.

    Raises: DataError: when eSpeak NG is not installed.
    """
    planned = plan(splits)
    lists = [chunk for said in planned.values() for chunk in building.chunks([utterance for _, utterance in said], LIST_SIZE)]

    def finish(folder: Path, spoken: list[Spoken]) -> None:
        for name, said in planned.items():
            _write_list(folder / FOLDER / "data" / f"{name}_data.csv", said)

    return building.build(cache, "fluent", lists, finish)


def plan(splits: Sequence[Split] = SPLITS) -> dict[str, list[tuple[Command, Utterance]]]:
    """What each split says: the commands in turn, shuffled anew each time round, so that all come equally often."""
    planned = {}
    for split in splits:
        commands = _in_turn(random.Random(f"{_KEY} {split.name}"))
        planned[split.name] = [
            (command := next(commands), _utterance(command, voice, index))
            for voice in split.readers()
            for index in range(split.per_speaker)
        ]
    return planned


def commands() -> list[Command]:
    """Every wording of every intent."""
    rooms = [(room, "" if room == _NOWHERE else f" in the {room}") for room in _ROOMS]
    switches = (("activate", "turn on the", "switch on the"), ("deactivate", "turn off the", "shut down the"))
    heating = (("increase", "turn up the heat", "make it warmer"), ("decrease", "turn down the heat", "make it cooler"))
    volume = (("increase", "turn up the volume", "make it louder"), ("decrease", "turn down the volume", "make it quieter"))
    things, languages = ("newspaper", "juice", "socks", "shoes"), ("Chinese", "Korean", "English", "German")
    return [
        *(Command(f"{verb} {thing}", action, thing) for action, *verbs in switches for verb in verbs for thing in ("music", "lamp")),
        *(Command(f"{verb} lights{at}", action, "lights", room) for action, *verbs in switches for verb in verbs for room, at in rooms),
        *(Command(f"{words}{at}", action, "heat", room) for action, *wordings in heating for words in wordings for room, at in rooms),
        *(Command(words, action, "volume") for action, *wordings in volume for words in wordings),
        *(Command(f"{verb} {thing}", "bring", thing) for verb in ("bring me the", "fetch my") for thing in things),
        *(Command(words, "change language", "none") for words in ("change the language", "use another language")),
        *(Command(f"{verb} {name}", "change language", name) for verb in ("set the language to", "switch to") for name in languages),
    ]


def _in_turn(generator: random.Random) -> Iterator[Command]:
    while True:
        shuffled = commands()
        generator.shuffle(shuffled)
        yield from shuffled


def _utterance(command: Command, voice: voices.Voice, index: int) -> Utterance:
    name = f"{voice.speaker}-{index:04}"
    generator = random.Random(f"{_KEY} {name}")
    return Utterance(
        path=f"{FOLDER}/wavs/speakers/{voice.speaker}/{name}.wav",
        text=command.text,
        voice=voice.name,
        rate=generator.randint(100, 130),
        pitch=generator.randint(42, 58),
        range=generator.randint(40, 60),
        snr_db=generator.randint(35, 50),
        seed=generator.randrange(2**32),
    )


def _write_list(path: Path, said: Sequence[tuple[Command, Utterance]]) -> None:
    """A list in the published columns, of which the first is a row number without a name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(_COLUMNS)
        for number, (command, utterance) in enumerate(said):
            wav = Path(utterance.path).relative_to(FOLDER).as_posix()
            text = command.text.capitalize()
            lines.writerow([number, wav, Path(wav).parent.name, text, command.action, command.object, command.location])
