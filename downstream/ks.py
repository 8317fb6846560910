"""Keyword spotting (KS): one of twelve classes for a second of audio, on Speech Commands v0.01; accuracy.

Source: SUPERB (Yang et al., 2021, arXiv 2105.01051), content tasks; s3prl downstream/speech_commands.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from corpus.batching import Batching
from corpus.speech_commands import KEYWORDS, SILENCE, UNKNOWN
from downstream.kinds import ClassificationTask, PooledHead
from engine.task import FRAME_ROUNDING, Card, CorpusBlock, Quirk, Setting

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import Cut

logger = logging.getLogger(__name__)

BALANCED_DEV = Quirk(
    "balanced_dev",
    superb="dev is as many draws with replacement as it has items, each class as likely as another, always the same",
    corrected="dev is every item once",
)
SHARED_SILENCE = Quirk(
    "shared_silence",
    superb="random seconds of the same noises are _silence_ in train and in dev",
    corrected="the last fifth of each noise, cut into seconds, is dev's _silence_; train hears the rest",
)

CLIP_SECONDS = 1.0
"""Length of a clip, and of what is heard of a noise."""

_named: set[str] = set()
"""Classes without items that this process has named; a run makes its task more than once."""


class KSCorpus(CorpusBlock):
    """Speech Commands.

    Attributes:
        keywords: are classes; every other word is `_unknown_`.
        noise_seconds: training hears so many seconds of each noise, drawn once, so that their representations are stored; 0 draws
            another second each time, as published.
    """

    keywords: list[str] = list(KEYWORDS)
    noise_seconds: int = Field(0, ge=0)
    batching: Batching = Batching(method="balanced", batch_size=32)

    @field_validator("keywords")
    @classmethod
    def _distinct_words(cls, keywords: list[str]) -> list[str]:
        if not keywords or len({*keywords, UNKNOWN, SILENCE}) < len(keywords) + 2:
            raise ValueError(f"at least one word is needed, each once; {UNKNOWN} and {SILENCE} are added to them")
        return keywords


class KS(ClassificationTask):
    """Keywords, other words and silence on Speech Commands."""

    name = "ks"
    splits = ("train", "dev", "test")
    demo_corpus = "speech_commands"
    quirks = (FRAME_ROUNDING, BALANCED_DEV, SHARED_SILENCE)
    Corpus = KSCorpus
    corpus: KSCorpus
    card = Card(
        title="Keyword spotting",
        data="Speech Commands v0.01 and its test set (https://arxiv.org/abs/1804.03209): ten keywords, _unknown_, _silence_",
        splits={"train": "51,088 clips and 6 noises", "dev": "6,798 clips and 6 noises", "test": "3,081 clips"},
        head="linear projection to 256, mean over frames, linear to 12; cross-entropy",
        selection="highest accuracy on dev",
        source="SUPERB, Yang et al., 2021, arXiv 2105.01051",
        notes=(
            "Training draws each class as often as another (corpus.batching: balanced); a noise gives a random second each time.",
            "The published recipe lowers all audio by 3 dB, in training and in test alike; Weir leaves the level as it is.",
        ),
    )

    def __init__(self, corpus: KSCorpus, head: PooledHead, setting: Setting | None = None) -> None:
        super().__init__(corpus, head, setting)
        self.classes = [*corpus.keywords, UNKNOWN, SILENCE]

    def cuts(self, split: str) -> CutSet:
        """The clips of a split and, in train and dev, noises.

        Own data needs the column `text`: the word, or `_silence_`.
        """
        from lhotse import CutSet

        from corpus import manifest

        given = split in self.corpus.manifests
        cuts = manifest.read(self.corpus.manifests[split], required=("text",)) if given else CutSet.from_cuts(self._published(split))
        self._name_absent_classes(split, cuts)
        if split == self.train_split and self.corpus.noise_seconds:
            return CutSet.from_cuts(part for cut in cuts for part in self._seconds(cut))
        if split != self.dev_split:
            return cuts
        items = self._balanced(list(cuts)) if self.keeps(BALANCED_DEV) else cuts
        return CutSet.from_cuts(_fixed_second(cut) if self.crop_seconds(cut) else cut for cut in items)

    def _published(self, split: str) -> list[Cut]:
        from corpus import speech_commands

        if split == self.test_split:
            return list(speech_commands.read_test(speech_commands.find(speech_commands.TEST_SOURCE, self.corpus.folder)))
        root = speech_commands.find(speech_commands.SOURCE, self.corpus.folder)
        words = speech_commands.read(root, "train" if split == self.train_split else "dev")
        noises = speech_commands.noises(root)
        if self.keeps(SHARED_SILENCE):
            return [*words, *noises]
        divided = [speech_commands.divide(noise) for noise in noises]
        if split == self.train_split:
            return [*words, *(learned for learned, _ in divided)]
        return [*words, *(second for _, held_out in divided for second in held_out)]

    def _name_absent_classes(self, split: str, cuts: Iterable[Cut]) -> None:
        """Each class without items is named once."""
        present = {self.reference(cut) for cut in cuts}
        absent = [name for name in self.classes if name not in present | _named]
        if absent:
            logger.warning("ks: nothing in %s is %s", split, ", ".join(absent))
        _named.update(absent)

    def _balanced(self, cuts: list[Cut]) -> list[Cut]:
        """Draws with replacement; the second of an item is called ID#2."""
        classes = [self.label(cut) for cut in cuts]
        sizes = Counter(classes)
        drawn = random.Random("ks balanced dev").choices(cuts, [1 / sizes[name] for name in classes], k=len(cuts))
        times: Counter[str] = Counter()
        for index, cut in enumerate(drawn):
            times[cut.id] += 1
            if times[cut.id] > 1:
                drawn[index] = cut.with_id(f"{cut.id}#{times[cut.id]}")
        return drawn

    def _seconds(self, cut: Cut) -> list[Cut]:
        """The seconds of a noise that training hears, called ID#1, ID#2, …; any other cut itself."""
        if self.crop_seconds(cut) is None:
            return [cut]
        return [_fixed_second(cut.with_id(f"{cut.id}#{number + 1}")) for number in range(self.corpus.noise_seconds)]

    def crop_seconds(self, cut: Cut) -> float | None:
        return CLIP_SECONDS if cut.duration > CLIP_SECONDS and self.reference(cut) == SILENCE else None

    @property
    def class_names(self) -> Sequence[str]:
        return self.classes

    def reference(self, cut: Cut) -> str:
        word = cut.supervisions[0].text
        return word if word in self.classes else UNKNOWN


def _fixed_second(noise: Cut) -> Cut:
    """A second of a noise, drawn by its id."""
    start = random.Random(f"ks {noise.id}").uniform(0, noise.duration - CLIP_SECONDS)
    return noise.truncate(offset=start, duration=CLIP_SECONDS, preserve_id=True)


TASK = KS
