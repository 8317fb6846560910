"""Slot filling (SF): characters and slot markers by CTC on Audio SNIPS, slot-type F1 and slot-value character error rate.

Source: SUPERB (Yang et al., 2021, arXiv 2105.01051), semantics tasks; s3prl downstream/ctc, snips.yaml.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from corpus.batching import Batching
from corpus.errors import DataError
from corpus.snips import SPEAKERS
from corpus.units import OUTSIDE, SlotUnits
from downstream.kinds import CTCTask, RecurrentCTCHead
from engine.task import (
    FRAME_ROUNDING,
    PADDED_TIME_MASKS,
    Card,
    Classes,
    CorpusBlock,
    Metric,
    Prediction,
    Quirk,
    Score,
    Setting,
)

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import Cut
    from torch import nn


SKIPPED_WORDS = Quirk(
    "skipped_words",
    superb="words of punctuation are passed over, and with them a slot marker or the <eos> that is due there",
    corrected="words of punctuation are left out before slots are marked",
)


class SFCorpus(CorpusBlock):
    """Audio SNIPS: the voices of each split."""

    train_speakers: list[str] = Field(list(SPEAKERS["train"]), min_length=1)
    dev_speakers: list[str] = Field(list(SPEAKERS["valid"]), min_length=1)
    test_speakers: list[str] = Field(list(SPEAKERS["test"]), min_length=1)
    batching: Batching = Batching(method="windows", batch_size=32, halved_above_seconds=18.75)


class SF(CTCTask):
    """Character and slot CTC on Audio SNIPS."""

    name = "sf"
    splits = ("train", "dev", "test")
    demo_corpus = "snips"
    quirks = (FRAME_ROUNDING, SKIPPED_WORDS, PADDED_TIME_MASKS)
    Corpus, Head = SFCorpus, RecurrentCTCHead
    corpus: SFCorpus
    head: RecurrentCTCHead
    metrics = (
        Metric("f1", higher_is_better=True, formula="F1 of the slots found in an utterance, averaged over utterances"),
        Metric("slot_cer", formula="character edits of slot values / characters of the references' slot values"),
    )
    card = Card(
        title="Slot filling",
        data="Audio SNIPS (https://huggingface.co/datasets/s3prl/SNIPS), SNIPS/: 31 characters and 78 slot markers, blank <pad>",
        splits={"train": "104,672 utterances of 8 voices", "dev": "2,800 of 4 others (folder valid)", "test": "2,800 of 4 others"},
        head="linear projection, 2 BiLSTM layers of 1024 a direction, dropout 0.2, linear to 109; SpecAugment; CTC",
        selection="highest slot-type F1 on dev",
        source="SUPERB, Yang et al., 2021, arXiv 2105.01051",
    )

    def __init__(self, corpus: SFCorpus, head: RecurrentCTCHead, setting: Setting | None = None) -> None:
        super().__init__(corpus, head, setting)
        self.units = SlotUnits(self.setting.classes.get("slot", []))

    def cuts(self, split: str) -> CutSet:
        from corpus import locate, manifest, snips

        if split in self.corpus.manifests:
            return manifest.read(self.corpus.manifests[split], required=("text", "slots"))
        root = locate.locate(snips.SOURCE, self.corpus.folder)
        speakers = {"train": self.corpus.train_speakers, "dev": self.corpus.dev_speakers, "test": self.corpus.test_speakers}
        return snips.read(root, "valid" if split == "dev" else split, speakers[split])

    def find_classes(self, cuts: CutSet) -> Classes:
        """The slots of ``slots.txt``, whose order numbers the markers; those of the labels where the training data is a manifest."""
        from corpus import locate, snips

        if "train" in self.corpus.manifests:
            return {"slot": sorted({slot for cut in cuts for slot in _slots(cut)} - {OUTSIDE})}
        return {"slot": snips.read_slots(locate.locate(snips.SOURCE, self.corpus.folder))}

    def label(self, cut: Cut) -> list[int]:
        try:
            return self.units.encode(cut.supervisions[0].text.split(" "), _slots(cut), filtered=not self.keeps(SKIPPED_WORDS))
        except DataError as error:
            raise DataError(f"{cut.recording.sources[0].source}: {error}") from error

    def reference(self, cut: Cut) -> str:
        return self.units.decode(self.label(cut))

    def build_head(self, dim: int, stride: int) -> nn.Module:
        from downstream.heads import RecurrentCTC

        return RecurrentCTC(dim, stride, len(self.units), **self.head.model_dump())

    def decode(self, ids: Iterable[int]) -> str:
        return self.units.decode(ids)

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Score]:
        from downstream.slots import slot_type_f1, slot_value_cer

        return {"f1": slot_type_f1(predictions), "slot_cer": slot_value_cer(predictions)}


def _slots(cut: Cut) -> list[str]:
    """The slot of each word."""
    return str((cut.supervisions[0].custom or {})["slots"]).split(" ")


TASK = SF
