"""Miniature Audio SNIPS: short commands with slots, in the layout of the archive prepared for s3prl.

Below the folder made: `SNIPS/{train,valid,test}/VOICE-snips-SPLIT-N.wav`, `all.iob.snips.txt` and `slots.txt`. The voices carry the
names of the real ones; unlike there, each sentence is spoken by one of them.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from corpus.demo import building, voices
from corpus.demo.editions.librispeech import write_lines
from corpus.demo.speech import Spoken, Utterance
from corpus.snips import SLOTS, TRANSCRIPTS
from corpus.units import OUTSIDE

# Everything is drawn from this key.
_KEY = "miniature snips 1"
# Utterances for one speaking process. The lists are part of the recipe: other lists, other bytes.
LIST_SIZE = 60

SLOT_NAMES = tuple(
    "object_type object_name timeRange artist city playlist rating_value movie_name spatial_relation music_item restaurant_type state "
    "condition_description country condition_temperature genre service rating_unit best_rating party_size_number object_select "
    "playlist_owner entity_name sort served_dish year object_location_type movie_type location_name restaurant_name cuisine poi "
    "facility geographic_poi track album current_location object_part_of_series_type party_size_description".split()
)
"""The 39 slots of SNIPS. The sentences below use 19 of them."""

# By intent: templates, whose braces name slots. Few words, often: there is little speech to learn them from.
_TEMPLATES = {
    "AddToPlaylist": """
add {artist} to {playlist_owner} {playlist} playlist
add this {music_item} to {playlist_owner} {playlist} playlist
""",
    "BookRestaurant": """
book a {restaurant_type} in {city} for {party_size_number}
book a {restaurant_type} in {city} {timeRange}
book a table for {party_size_number} {timeRange}
""",
    "GetWeather": """
will it be {condition_temperature} in {city} {timeRange}
will there be {condition_description} in {city} {timeRange}
""",
    "PlayMusic": """
play {genre} music on {service}
play the {sort} {music_item} by {artist}
play the {sort} {genre} {music_item}
""",
    "RateBook": """
give this {object_type} {rating_value} {rating_unit}
rate {object_name} {rating_value} {rating_unit}
""",
    "SearchCreativeWork": """
find the {object_type} {object_name}
show me the {object_type} {object_name}
""",
    "SearchScreeningEvent": """
when is {movie_name} at the {object_location_type}
is {movie_name} playing {timeRange}
find {movie_name} at the {object_location_type} {timeRange}
""",
}

_VALUES = {
    "artist": "bob dylan|madonna|taylor swift|johnny cash",
    "playlist_owner": "my|our|her",
    "playlist": "morning coffee|road trip|workout|rainy day",
    "music_item": "song|album|track",
    "restaurant_type": "pub|bakery|steakhouse|diner",
    "city": "boston|paris|chicago|dallas",
    "party_size_number": "two|four|six|nine",
    "timeRange": "tomorrow|tonight|next friday|at noon",
    "condition_temperature": "cold|warm|freezing",
    "condition_description": "snow|rain|fog",
    "genre": "jazz|blues|opera|reggae",
    "service": "spotify|youtube|pandora",
    "sort": "best|latest",
    "object_type": "novel|essay|book|painting",
    "rating_value": "one|three|five|zero",
    "rating_unit": "stars|points",
    "object_name": "the great wall|winter garden|silver lake|black beauty",
    "movie_name": "star wars|king kong|the godfather|new moon",
    "object_location_type": "cinema|theatre|movie house",
}


@dataclass(frozen=True)
class Split:
    """One folder: its voices (the real one's name and eSpeak NG's variant), and how many sentences each of them speaks."""

    folder: str
    readers: dict[str, str]
    per_speaker: int


SPLITS = (
    Split("test", {"Brian": "ed", "Emma": "Annie", "Raveena": "f2", "Russell": "Mario"}, 15),
    Split("valid", {"Aditi": "aunty", "Amy": "linda", "Geraint": "benjamin", "Nicole": "f4"}, 12),
    Split(
        "train",
        {
            "Ivy": "Alicia",
            "Joanna": "f1",
            "Joey": "Andy",
            "Justin": "m3",
            "Kendra": "belinda",
            "Kimberly": "steph",
            "Matthew": "edward",
            "Salli": "shelby",
        },
        56,
    ),
)
# The same in a second, for tests.
TINY = tuple(Split(split.folder, dict(list(split.readers.items())[:2]), 3) for split in SPLITS)
_GROUPS = ("train", "dev", "test", "dev-other")


@dataclass(frozen=True)
class Sentence:
    """Words with the slot of each."""

    words: tuple[str, ...]
    slots: tuple[str, ...]
    intent: str


@dataclass(frozen=True)
class Line:
    """An utterance and what it says."""

    utterance: Utterance
    sentence: Sentence

    def __str__(self) -> str:
        """As `all.iob.snips.txt` has it."""
        words, slots = " ".join(self.sentence.words).upper(), " ".join(self.sentence.slots)
        return f"{Path(self.utterance.path).stem} BOS {words} EOS\t{OUTSIDE} {slots} {self.sentence.intent}"


def make(cache: Path, splits: Sequence[Split] = SPLITS) -> Path:
    """The folder that holds `SNIPS/`, made now or found in `cache`.

    Raises: DataError: when eSpeak NG is not installed.
    """
    lines = plan(splits)

    def finish(folder: Path, spoken: list[Spoken]) -> None:
        write_lines(folder / "SNIPS" / TRANSCRIPTS, [str(line) for line in lines])
        write_lines(folder / "SNIPS" / SLOTS, [OUTSIDE, *SLOT_NAMES])

    return building.build(cache, "snips", building.chunks([line.utterance for line in lines], LIST_SIZE), finish)


def plan(splits: Sequence[Split] = SPLITS) -> list[Line]:
    """What is said: no sentence twice, the voices of a split in turn."""
    every = list(sentences())
    random.Random(_KEY).shuffle(every)
    lines, left = [], iter(every)
    for split in splits:
        chosen = itertools.islice(left, split.per_speaker * len(split.readers))
        lines += [Line(_utterance(split, number, sentence), sentence) for number, sentence in enumerate(chosen)]
    return lines


def sentences() -> Iterator[Sentence]:
    """Every sentence that the templates can make."""
    for intent, templates in _TEMPLATES.items():
        for template in templates.strip().splitlines():
            slots = re.findall(r"\{(\w+)\}", template)
            for values in itertools.product(*(_VALUES[slot].split("|") for slot in slots)):
                yield _filled(template, dict(zip(slots, values, strict=True)), intent)


def _filled(template: str, values: dict[str, str], intent: str) -> Sentence:
    parts = [(values[part[1:-1]], part[1:-1]) if part.startswith("{") else (part, OUTSIDE) for part in template.split()]
    words, slots = zip(*((word, slot) for text, slot in parts for word in text.split()), strict=True)
    return Sentence(words, slots, intent)


def _utterance(split: Split, number: int, sentence: Sentence) -> Utterance:
    speaker, variant = list(split.readers.items())[number % len(split.readers)]
    voice = next(voice for group in _GROUPS for voice in voices.group(group) if voice.variant == variant)
    generator = random.Random(f"{_KEY} {split.folder} {number}")
    return Utterance(
        path=f"SNIPS/{split.folder}/{speaker}-snips-{split.folder}-{number}.wav",
        text=" ".join(sentence.words),
        voice=voice.name,
        rate=generator.randint(95, 130),
        pitch=generator.randint(30, 70),
        range=generator.randint(35, 65),
        snr_db=generator.randint(35, 50),
        seed=generator.randrange(2**32),
    )
