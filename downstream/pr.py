"""Phoneme recognition (PR): phones by frame-wise linear CTC on LibriSpeech 100 h, phone error rate.

Source: SUPERB (Yang et al., 2021, arXiv 2105.01051), content tasks; s3prl downstream/ctc, libriphone.yaml.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from corpus.batching import Batching
from corpus.units import PhoneUnits
from downstream.kinds import LIBRISPEECH_SIZES, CTCTask, LibriSpeechCorpus, LibriSpeechTask
from engine.task import FRAME_ROUNDING, Block, Card, Metric, Prediction, Score, Setting

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import Cut
    from torch import nn


class PRCorpus(LibriSpeechCorpus):
    """LibriSpeech.

    Attributes:
        lexicons: pronunciations, asked in order; none named takes those beside the data (`corpus.locate.lexicons`).
    """

    lexicons: list[Path] = []
    batching: Batching = Batching(method="windows", batch_size=16, halved_above_seconds=18.75)

    @field_validator("lexicons")
    @classmethod
    def _absolute(cls, lexicons: list[Path]) -> list[Path]:
        """A checkpoint holds them, and is read from other working directories."""
        return [path.absolute() for path in lexicons]


class PRHead(Block):
    """See `downstream.heads.LinearCTC`."""

    projection: int = Field(256, gt=0)
    total_rate: int = -1
    sample_style: Literal["concat", "drop"] = "concat"


class PR(CTCTask, LibriSpeechTask):
    """Phone CTC on LibriSpeech."""

    name = "pr"
    quirks = (FRAME_ROUNDING,)
    Corpus, Head = PRCorpus, PRHead
    corpus: PRCorpus
    head: PRHead
    metrics = (Metric("per", formula="phone edits / reference phones, summed over utterances"),)
    card = Card(
        title="Phoneme recognition",
        data="LibriSpeech (https://www.openslr.org/12), phones of a lexicon: SUPERB's 74 symbols, blank <pad>",
        splits=LIBRISPEECH_SIZES,
        head="linear to 256, linear to 74, on every frame, without activation; CTC",
        selection="lowest greedy PER on dev-clean",
        source="SUPERB, Yang et al., 2021, arXiv 2105.01051",
        notes=(
            "Targets are the first pronunciation of each word, then <eos>, which is dropped from what is recognised.",
            "s3prl counts an empty hypothesis as one wrong token: against a reference of n phones these are n edits, as n deletions are.",
        ),
    )

    def __init__(self, corpus: PRCorpus, head: PRHead, setting: Setting | None = None) -> None:
        super().__init__(corpus, head, setting)
        self.vocabulary = PhoneUnits([])

    @cached_property
    def units(self) -> PhoneUnits:
        """The vocabulary with the lexicons, which only labels need: inference has no data beside it."""
        from corpus.locate import lexicons

        return PhoneUnits(self.corpus.lexicons or lexicons(self.corpus.folder))

    def cuts(self, split: str) -> CutSet:
        cuts = super().cuts(split)
        self.units.check(cut.supervisions[0].text for cut in cuts)
        return cuts

    def label(self, cut: Cut) -> list[int]:
        return self.units.encode(cut.supervisions[0].text)

    def reference(self, cut: Cut) -> str:
        return self.units.decode(self.label(cut))

    def build_head(self, dim: int, stride: int) -> nn.Module:
        from downstream.heads import LinearCTC

        return LinearCTC(dim, stride, len(self.vocabulary), **self.head.model_dump())

    def decode(self, ids: Iterable[int]) -> str:
        return self.vocabulary.decode(ids)

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Score]:
        from downstream.metrics import error_rate

        return {"per": error_rate(predictions, "word")}


TASK = PR
