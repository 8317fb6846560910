"""The screened voices of the demo corpora: who speaks, in which accent, and on which side of the splits.

A voice is an eSpeak NG base voice (the accent) with one variant (the speaker). Robot, whisper and effect variants are left
out. Those of the held-out groups are in no training data of any kind, pre-training included. "test" holds the ones that a small
recogniser, trained on the training voices, understood best (14 to 38 % of the words wrong), "dev" the middle ones, and the
two "other" groups the hardest (above 45 %): numbers on them say how encoders compare, not how hard a voice is.
"""

from __future__ import annotations

from dataclasses import dataclass

AMERICAN, NEW_YORK, BRITISH = "en-us", "en-us-nyc", "en-gb-x-rp"
SCOTTISH, CARIBBEAN, LANCASTER, WEST_MIDLANDS = "en-gb-scotland", "en-029", "en-gb-x-gbclan", "en-gb-x-gbcwmd"


@dataclass(frozen=True)
class Voice:
    """One speaker.

    Attributes:
        speaker: number in the style of LibriSpeech, the same in every edition.
        variant: name of the eSpeak NG variant.
        base: eSpeak NG base voice, the accent.
        gender: "M" or "F", by the pitch where eSpeak NG does not say.
    """

    speaker: int
    variant: str
    base: str
    gender: str

    @property
    def name(self) -> str:
        """The name that eSpeak NG takes: base and variant."""
        return f"{self.base}+{self.variant}"


# Men and women of each group. The order fixes speaker numbers and accents: append, do not insert.
_VARIANTS = {
    "train": {
        "M": "Andy Denis Diogo Henrique Hugo Jacky Lee Mike Nguyen adam antonio boris caleb edward grandpa gustave ian kaukovalta "
        "m1 m2 m3 m4 m5 m6 m8 max michel miguel mike2 norbert paul pedro quincy rob robert sandro travis victor",
        "F": "Alicia anika belinda f1 f5 grandma shelby steph steph2 steph3 zac",
    },
    "dev": {"M": "benjamin pablo Michael m7", "F": "linda f4"},
    "test": {"M": "ed Mario Gene john Alex edward2", "F": "Annie f2"},
    "dev-other": {"M": "Reed david", "F": "aunty"},
    "test-other": {"M": "marcelo announcer", "F": "Andrea f3"},
}
_FIRST_SPEAKER = {"train": 1001, "dev": 2001, "test": 3001, "dev-other": 4001, "test-other": 5001}
# Three in five American, the others New York and British in turn.
_ACCENTS = (AMERICAN, AMERICAN, NEW_YORK, AMERICAN, BRITISH)


def group(name: str) -> list[Voice]:
    """The voices of a group: "train", "dev", "test", or the less usual ones of "dev-other" and "test-other"."""
    spoken = [(variant, gender) for gender, variants in _VARIANTS[name].items() for variant in variants.split()]
    return [
        Voice(_FIRST_SPEAKER[name] + index, variant, _ACCENTS[index % len(_ACCENTS)], gender)
        for index, (variant, gender) in enumerate(spoken)
    ]
