"""Everyday sentences from templates and word lists, drawn without repetition and the same on every machine."""

from __future__ import annotations

import random
import re
from collections.abc import Collection
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


@dataclass(frozen=True)
class Grammar:
    """Templates with named slots, and the fillers of each slot."""

    templates: tuple[str, ...]
    fillers: dict[str, tuple[str, ...]]

    def words(self) -> list[str]:
        """Every word that a sentence can hold, sorted."""
        fixed = re.sub(r"\{\w+\}", " ", " ".join(self.templates))
        return sorted({word for part in (fixed, *(" ".join(f) for f in self.fillers.values())) for word in part.split()})

    def draw(self, count: int, key: str, exclude: Collection[str] = ()) -> list[str]:
        """`count` distinct sentences in lower case, none of them in `exclude`; the same for the same `key`."""
        generator, seen, sentences = random.Random(key), set(exclude), []
        while len(sentences) < count:
            sentence = self._sentence(generator)
            if sentence not in seen:
                seen.add(sentence)
                sentences.append(sentence)
        return sentences

    def _sentence(self, generator: random.Random) -> str:
        template = generator.choice(self.templates)
        used: set[str] = set()

        def fill(slot: re.Match[str]) -> str:
            filler = generator.choice([word for word in self.fillers[slot[1]] if word not in used])
            used.add(filler)
            return filler

        return re.sub(r"\{(\w+)\}", fill, template)


def _grammar(templates: str, lists: dict[str, str]) -> Grammar:
    """A grammar from lines of templates and from lists that are parted by bars or, without a bar, by spaces."""
    fillers = {slot: tuple(words.split("|") if "|" in words else words.split()) for slot, words in lists.items()}
    return Grammar(tuple(templates.strip().splitlines()), fillers)


EVERYDAY = _grammar(_TEMPLATES, _EVERYDAY)
