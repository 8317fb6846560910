"""Miniature Audio SNIPS: short commands with slots, in the layout of the archive prepared for s3prl.

Below the folder made: `SNIPS/{train,valid,test}/VOICE-snips-SPLIT-N.wav`, `all.iob.snips.txt` and `slots.txt`. The voices carry the
names of the real ones; unlike there, each sentence is spoken by one of them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from corpus.demo import building, voices
from corpus.demo.editions.librispeech import write_lines
from corpus.demo.speech import Spoken, Utterance
from corpus.demo.text import Grammar
from corpus.snips import SLOTS, TRANSCRIPTS
from corpus.units import OUTSIDE

# Everything is drawn from this key; the held-out splits come first, so that the size of train leaves them as they are.
_KEY = "miniature snips 1"
# Utterances for one speaking process. The lists are part of the recipe: other lists, other bytes.
LIST_SIZE = 60

SLOT_NAMES = tuple(
    "object_type object_name timeRange artist city playlist rating_value movie_name spatial_relation music_item restaurant_type state "
    "condition_description country condition_temperature genre service rating_unit best_rating party_size_number object_select "
    "playlist_owner entity_name sort served_dish year object_location_type movie_type location_name restaurant_name cuisine poi "
    "facility geographic_poi track album current_location object_part_of_series_type party_size_description".split()
)
"""The 39 slots of SNIPS. The sentences below use 31 of them."""

# By intent: templates, whose braces name slots.
_TEMPLATES = {
    "AddToPlaylist": """
add {artist} to {playlist_owner} {playlist} playlist
put {entity_name} on {playlist_owner} {playlist} list
add this {music_item} by {artist} to {playlist}
""",
    "BookRestaurant": """
book a {restaurant_type} in {city} for {party_size_number}
find a {restaurant_type} that serves {served_dish}
i want {cuisine} food in {city}
reserve a table {spatial_relation} {poi} {timeRange}
""",
    "GetWeather": """
will it be {condition_temperature} in {city} {timeRange}
is there any {condition_description} in {country} {timeRange}
tell me the weather for {state} {timeRange}
""",
    "PlayMusic": """
play some {genre} on {service}
play the {sort} {music_item} by {artist}
play the {sort} {genre} {music_item}
play {genre} from {year} on {service}
""",
    "RateBook": """
give {object_select} {object_type} {rating_value} {rating_unit}
rate {object_name} {rating_value} out of {best_rating}
""",
    "SearchCreativeWork": """
find the {object_type} {object_name}
find the {object_type} called {object_name}
i want to see the {object_type} {object_name}
show me the {object_type} {object_name}
""",
    "SearchScreeningEvent": """
when is {movie_name} at the {object_location_type} {timeRange}
show {movie_type} at {location_name} {timeRange}
find {movie_type} at the {object_location_type} {timeRange}
is {movie_name} playing at {location_name}
""",
}

_VALUES = {
    "artist": "taylor swift|bob dylan|nina simone|johnny cash|madonna",
    "playlist": "morning coffee|road trip|deep focus|workout|rainy day",
    "playlist_owner": "my|our|her|his",
    "entity_name": "yellow submarine|moon river|purple rain|hotel california",
    "music_item": "song|album|track|tune",
    "restaurant_type": "pub|bakery|steakhouse|diner|cafeteria",
    "city": "boston|dallas|paris|chicago|madrid",
    "party_size_number": "two|four|six|nine",
    "timeRange": "tomorrow|tonight|next friday|this weekend|at noon",
    "served_dish": "pizza|lobster|noodles|pancakes",
    "cuisine": "italian|mexican|korean|greek",
    "spatial_relation": "near|close to|next to",
    "poi": "the museum|central park|the harbor|my hotel",
    "condition_temperature": "cold|warm|freezing|hot",
    "condition_description": "snow|fog|rain|wind",
    "country": "norway|brazil|japan|egypt",
    "state": "texas|ohio|florida|vermont",
    "genre": "jazz|rock|blues|opera",
    "service": "spotify|youtube|pandora|netflix",
    "sort": "best|latest|most popular",
    "year": "nineteen sixty|two thousand|the eighties",
    "object_select": "this|the current|the last",
    "object_type": "novel|essay|book|textbook|chronicle|painting",
    "rating_value": "one|three|five|zero",
    "rating_unit": "stars|points",
    "best_rating": "ten|twelve",
    "object_name": "the great wall|winter garden|a lost world|silver lake|black beauty|little women|dark island",
    "movie_name": "the godfather|star wars|king kong|jungle girl|new moon",
    "object_location_type": "cinema|movie house|theatre",
    "movie_type": "films|animated movies|cartoons",
    "location_name": "star theaters|plaza cinemas|grand palace",
}


@dataclass(frozen=True)
class Split:
    """One folder: its voices (the real one's name, then eSpeak NG's variant), and how many sentences each of them speaks."""

    folder: str
    readers: dict[str, str]
    per_speaker: int


SPLITS = (
    Split("test", {"Brian": "ed", "Emma": "Annie", "Raveena": "f2", "Russell": "Mario"}, 25),
    Split("valid", {"Aditi": "aunty", "Amy": "linda", "Geraint": "benjamin", "Nicole": "f4"}, 20),
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
        90,
    ),
)
# The same in a second, for tests.
TINY = tuple(Split(split.folder, dict(list(split.readers.items())[:2]), 3) for split in SPLITS)
_GROUPS = {"test": ("test",), "valid": ("dev", "dev-other"), "train": ("train",)}


@dataclass(frozen=True)
class Line:
    """One utterance with the slot of each word."""

    utterance: Utterance
    slots: tuple[str, ...]
    intent: str

    def __str__(self) -> str:
        """As `all.iob.snips.txt` has it."""
        return f"{Path(self.utterance.path).stem} BOS {self.utterance.text.upper()} EOS\t{OUTSIDE} {' '.join(self.slots)} {self.intent}"


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
    lines, used = [], set[str]()
    for split in splits:
        sentences = _sentences(split.per_speaker * len(split.readers), f"{_KEY} {split.folder}", used)
        used.update(sentence for sentence, _ in sentences)
        lines += [_line(split, number, sentence, intent) for number, (sentence, intent) in enumerate(sentences)]
    return lines


def grammars() -> dict[str, Grammar]:
    """A grammar for each intent; each word of a value carries its slot, as in `bob/artist dylan/artist`."""
    tagged = {slot: tuple(_tagged(value, slot) for value in values.split("|")) for slot, values in _VALUES.items()}
    return {intent: Grammar(tuple(templates.strip().splitlines()), tagged) for intent, templates in _TEMPLATES.items()}


def _tagged(value: str, slot: str) -> str:
    return " ".join(f"{word}/{slot}" for word in value.split())


def _sentences(count: int, key: str, used: set[str]) -> list[tuple[str, str]]:
    """(tagged sentence, intent), of each intent about as many."""
    drawn = []
    for index, (intent, grammar) in enumerate(grammars().items()):
        share = (count + index) // len(_TEMPLATES)
        drawn += [(sentence, intent) for sentence in grammar.draw(share, f"{key} {intent}", exclude=used)]
    random.Random(f"{key} order").shuffle(drawn)
    return drawn


def _line(split: Split, number: int, sentence: str, intent: str) -> Line:
    speaker, variant = list(split.readers.items())[number % len(split.readers)]
    voice = next(voice for group in _GROUPS[split.folder] for voice in voices.group(group) if voice.variant == variant)
    generator = random.Random(f"{_KEY} {split.folder} {number}")
    words, slots = zip(*((word, slot or OUTSIDE) for word, _, slot in (token.partition("/") for token in sentence.split())), strict=True)
    utterance = Utterance(
        path=f"SNIPS/{split.folder}/{speaker}-snips-{split.folder}-{number}.wav",
        text=" ".join(words),
        voice=voice.name,
        rate=generator.randint(100, 130),
        pitch=generator.randint(40, 60),
        range=generator.randint(40, 60),
        snr_db=generator.randint(35, 50),
        seed=generator.randrange(2**32),
    )
    return Line(utterance, slots, intent)
