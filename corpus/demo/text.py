"""Everyday sentences from templates and word lists, drawn without repetition and the same on every machine."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

_TEMPLATES = """
{name} {got} a {size} {thing} in the {place} {past}
the {person} {got} {number} {goods} at the {place} {past}
put the {color} {thing} on the {furniture}
can you bring me a cup of {drink}
{name} and {name} {moved} to the {nature} {past}
i think {name} will {do} {future}
the {color} {vehicle} stopped near my {place}
there are {number} {goods} under the {furniture}
the {animal} {moved} {manner} into the {nature}
we were very {feeling} when the {weather} came
did the {person} see my {color} {clothes}
she needs a {size} {clothes} when the {weather} comes
the {person} is {feeling} and wants to {do}
it takes {number} hours to reach the {nature} by {vehicle}
do not leave the {thing} near the open {opening}
he {often} has some {food} with his {drink}
the {weather} was very strong near the {nature} {past}
we will meet {name} at the {place} {future}
{name} wants to {do} but the {person} is {feeling}
the {animal} and the {animal} sleep under the {furniture}
where did {name} find that {size} {clothes}
her {person} gave the {animal} some {food} and {drink}
our {vehicle} will leave at {number} {future}
they {often} {do} together in the {place}
please give this {size} {thing} to {name}
we can {do} in the {place} {future}
who painted the {furniture} {color} {past}
you can see the {animal} from the {opening}
"""

_EVERYDAY = {
    "name": "john mary anna peter sarah david",
    "person": "teacher doctor farmer sister brother mother",
    "animal": "dog cat horse bird cow rabbit",
    "thing": "book letter lamp basket bottle hammer",
    "goods": "apples flowers eggs potatoes coins chairs",
    "food": "bread cheese soup rice fish cake",
    "drink": "milk water coffee tea juice",
    "place": "kitchen garden market school station library",
    "nature": "river lake forest mountain bridge road",
    "color": "red green blue yellow white black",
    "size": "small large old new heavy broken",
    "number": "two three four five six seven",
    "past": "yesterday|this morning|last night|today|after lunch|before dinner",
    "future": "tomorrow|tonight|soon|next week|on monday|on friday",
    "got": "found bought carried sold lost washed",
    "moved": "walked ran went hurried returned",
    "manner": "slowly quickly again",
    "often": "often never always sometimes",
    "weather": "rain snow wind sun storm",
    "clothes": "coat shirt hat dress scarf",
    "feeling": "happy tired hungry angry busy ready",
    "furniture": "table bed shelf desk bench",
    "opening": "door window gate",
    "vehicle": "car bus train boat truck bicycle",
    "do": "read write sing dance swim cook",
}

# More of each, and more templates: for speech that nobody transcribes.
_MORE_TEMPLATES = """
{name} told the {person} about the {size} {place}
every {person} likes {food} with {drink}
a {color} {animal} sat behind the {vehicle}
the price of {goods} is {number} dollars {past}
it is too {temperature} to {do} outside {future}
my {body} hurts because i {moved} to the {place}
have you ever seen a {size} {animal} with {number} legs
the {person} played the {instrument} at the {place}
nobody {got} the {thing} that {name} left near the {opening}
we should ask the {person} before we {do}
{number} {goods} and some {food} were in the {thing}
let us take the {vehicle} to the {nature} {future}
the {weather} broke the {opening} of the {place}
{name} has a {size} {instrument} and a {color} {clothes}
why are you so {feeling} about the {thing}
"""

_MORE = {
    "name": "james linda robert susan michael karen thomas nancy daniel laura kevin emma george helen frank alice henry julia oliver grace",
    "person": (
        "father uncle cousin neighbor captain soldier lawyer nurse painter singer writer driver pilot baker butcher judge "
        "student king queen prince stranger manager gardener waiter"
    ),
    "animal": "sheep goat pig duck goose chicken mouse fox wolf bear lion tiger monkey snake frog turtle donkey squirrel deer eagle owl",
    "thing": (
        "knife spoon mirror clock blanket pillow candle bucket ladder needle camera radio telephone computer newspaper "
        "envelope umbrella suitcase wallet picture towel brush shovel rope barrel"
    ),
    "goods": (
        "oranges bananas carrots onions tomatoes cherries grapes lemons pencils stamps tickets buttons nails bricks stones shoes gloves"
    ),
    "food": "butter chicken salad sugar pepper honey sausage pasta beef pudding chocolate corn beans mushrooms cream toast pancakes",
    "drink": "lemonade cocoa wine beer cider",
    "place": (
        "office hospital theater museum hotel restaurant factory bakery church castle airport harbor village city kitchen "
        "bedroom bathroom basement attic barn stable courtyard cellar playground prison university"
    ),
    "nature": "ocean beach island valley desert hill canyon waterfall field meadow swamp coast cliff cave stream pond jungle",
    "color": "brown purple orange gray pink golden silver dark pale bright",
    "size": "tiny huge narrow wide thick thin long short round square empty full clean dirty cheap expensive beautiful strange",
    "number": "eight nine ten eleven twelve thirteen fifteen twenty thirty forty fifty eighty ninety",
    "past": "last summer|two days ago|in the evening|at noon|on tuesday|last winter|in january|a long time ago|at midnight|in september",
    "future": "next month|on sunday|on thursday|in the afternoon|after breakfast|before supper|next year|in october|on saturday|later",
    "got": "borrowed stole dropped cleaned repaired hid received forgot wrapped weighed counted brought noticed ordered offered",
    "moved": "drove flew climbed marched traveled crawled raced wandered escaped sailed",
    "manner": "gently suddenly silently carefully bravely calmly boldly eagerly",
    "often": "rarely seldom regularly probably certainly",
    "weather": "hail thunder lightning frost heat sunshine breeze",
    "clothes": "sweater blouse skirt belt tie uniform robe vest cap helmet",
    "feeling": "sad nervous proud lonely curious jealous thirsty sleepy excited afraid surprised worried",
    "furniture": "couch sofa cupboard counter stove piano carpet chair",
    "opening": "chimney curtain roof fence entrance",
    "vehicle": "taxi tractor wagon ship airplane helicopter motorcycle tram ferry",
    "do": "draw sleep study travel laugh shout whisper listen wait work play fight jump smile rest argue paint sew knit skate",
    "temperature": "cold warm hot windy cloudy dark wet dry",
    "body": "head shoulder elbow finger knee ankle back stomach tooth thumb",
    "instrument": "guitar violin trumpet flute drum harp organ cello",
}


@dataclass(frozen=True)
class Grammar:
    """Templates with named slots, and the fillers of each slot."""

    templates: tuple[str, ...]
    fillers: dict[str, tuple[str, ...]]

    def words(self) -> list[str]:
        """Every word that a sentence can hold, sorted."""
        fixed = re.sub(r"\{\w+\}", " ", " ".join(self.templates))
        return sorted({"an", *fixed.split(), *(word for fillers in self.fillers.values() for filler in fillers for word in filler.split())})

    def extended(self, more: Grammar) -> Grammar:
        """This grammar with more templates and, for each slot, more fillers."""
        slots = self.fillers | more.fillers
        both = {slot: tuple(dict.fromkeys(self.fillers.get(slot, ()) + more.fillers.get(slot, ()))) for slot in slots}
        return Grammar(self.templates + more.templates, both)

    def draw(self, count: int, key: str, exclude: Collection[str] = ()) -> list[str]:
        """`count` distinct sentences in lower case, none of them in `exclude`; the same for the same `key`.

        Raises: ValueError: when so many are not found among a hundred times as many draws.
        """
        generator, excluded = random.Random(key), set(exclude)
        sentences: dict[str, None] = {}  # a set that keeps the order
        for _ in range(100 * count):
            if len(sentences) == count:
                break
            sentence = self._sentence(generator)
            if sentence not in excluded:
                sentences[sentence] = None
        if len(sentences) < count:
            raise ValueError(f"only {len(sentences)} of {count} sentences found (key {key!r})")
        return list(sentences)

    def _sentence(self, generator: random.Random) -> str:
        template = generator.choice(self.templates)
        used: set[str] = set()

        def fill(slot: re.Match[str]) -> str:
            filler = generator.choice([word for word in self.fillers[slot[1]] if word not in used])
            used.add(filler)
            return filler

        sentence = re.sub(r"\{(\w+)\}", fill, template)
        return re.sub(r"\ba (?=[aeio]|u(?!ni))", "an ", sentence)


def _grammar(templates: str, lists: Mapping[str, str]) -> Grammar:
    """A grammar from lines of templates and from lists that are parted by bars or, without a bar, by spaces."""
    fillers = {slot: tuple(words.split("|") if "|" in words else words.split()) for slot, words in lists.items()}
    return Grammar(tuple(templates.strip().splitlines()), fillers)


EVERYDAY = _grammar(_TEMPLATES, _EVERYDAY)
WIDE = EVERYDAY.extended(_grammar(_MORE_TEMPLATES, _MORE))
