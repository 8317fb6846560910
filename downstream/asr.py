"""Automatic speech recognition (ASR): characters by CTC on LibriSpeech 100 h, greedy decoding, word error rate.

Source: SUPERB (Yang et al., 2021, arXiv 2105.01051), content tasks; s3prl downstream/asr.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from corpus.batching import Batching
from corpus.units import CharacterUnits
from downstream.kinds import LIBRISPEECH_SIZES, CTCTask, LibriSpeechCorpus, LibriSpeechTask, RecurrentCTCHead
from engine.task import FRAME_ROUNDING, PADDED_TIME_MASKS, Card, Metric, Prediction, Quirk, Score, Setting

if TYPE_CHECKING:
    from lhotse.cut import Cut
    from torch import nn


TARGET_TAIL = Quirk("target_tail", superb="targets end in '|' and '</s>'", corrected="targets are the words alone")


class ASRCorpus(LibriSpeechCorpus):
    """LibriSpeech, in the benchmark's batches."""

    batching: Batching = Batching(method="fixed", batch_size=32, halved=True)


class ASR(CTCTask, LibriSpeechTask):
    """Character CTC on LibriSpeech."""

    name = "asr"
    best_checkpoint = "dev-clean-best.ckpt"
    quirks = (FRAME_ROUNDING, TARGET_TAIL, PADDED_TIME_MASKS)
    Corpus, Head = ASRCorpus, RecurrentCTCHead
    corpus: ASRCorpus
    head: RecurrentCTCHead
    metrics = (
        Metric("wer", formula="word edits / reference words, summed over utterances"),
        Metric("cer", formula="character edits / reference characters (spaces between words included), summed over utterances"),
    )
    card = Card(
        title="Automatic speech recognition",
        data="LibriSpeech (https://www.openslr.org/12), characters: SUPERB's 32 symbols, blank <s>",
        splits=LIBRISPEECH_SIZES,
        head="linear projection, 2 BiLSTM layers of 1024 a direction, dropout 0.2, linear to 32; SpecAugment; CTC",
        selection="lowest greedy WER on dev-clean",
        source="SUPERB, Yang et al., 2021, arXiv 2105.01051",
    )

    def __init__(self, corpus: ASRCorpus, head: RecurrentCTCHead, setting: Setting | None = None) -> None:
        super().__init__(corpus, head, setting)
        self.units = CharacterUnits()

    def label(self, cut: Cut) -> list[int]:
        return self.units.encode(self.reference(cut), tail=self.keeps(TARGET_TAIL))

    def reference(self, cut: Cut) -> str:
        return " ".join(cut.supervisions[0].text.upper().split())

    def build_head(self, dim: int, stride: int) -> nn.Module:
        from downstream.heads import RecurrentCTC

        return RecurrentCTC(dim, stride, len(self.units), **self.head.model_dump())

    def decode(self, ids: Iterable[int]) -> str:
        return self.units.decode(ids)

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Score]:
        from downstream.metrics import error_rate

        return {"wer": error_rate(predictions, "word"), "cer": error_rate(predictions, "character")}


TASK = ASR
