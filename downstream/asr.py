"""Automatic speech recognition (ASR): characters by CTC on LibriSpeech 100 h, greedy decoding, word error rate.

Source: SUPERB (Yang et al., 2021, arXiv 2105.01051), content tasks; s3prl downstream/asr.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from corpus.batching import Batching
from corpus.units import CharacterUnits
from engine.task import FRAME_ROUNDING, PADDED_TIME_MASKS, Block, Card, CorpusBlock, HeadTask, Metric, Prediction, Quirk, Score, Setting

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import Cut
    from torch import Tensor, nn

    from downstream.ctc import CTCOutput


TARGET_TAIL = Quirk("target_tail", superb="targets end in '|' and '</s>'", corrected="targets are the words alone")


class ASRCorpus(CorpusBlock):
    """LibriSpeech: `train` names the splits that train the head."""

    train: list[str] = ["train-clean-100"]
    batching: Batching = Batching(method="fixed", batch_size=32, halved=True)


class ASRHead(Block):
    """See `downstream.heads.RecurrentCTC`."""

    projection: int = Field(1024, gt=0)
    hidden: int = Field(1024, gt=0)
    layers: int = Field(2, gt=0)
    dropout: float = Field(0.2, ge=0, lt=1)
    total_rate: int = -1
    sample_style: Literal["concat", "drop"] = "concat"


class ASR(HeadTask):
    """Character CTC on LibriSpeech."""

    name = "asr"
    splits = ("train", "dev-clean", "dev-other", "test-clean", "test-other")
    train_split, dev_split, test_split = "train", "dev-clean", "test-clean"
    best_checkpoint = "dev-clean-best.ckpt"
    demo_corpus = "librispeech"
    quirks = (FRAME_ROUNDING, TARGET_TAIL, PADDED_TIME_MASKS)
    Corpus, Head = ASRCorpus, ASRHead
    corpus: ASRCorpus
    head: ASRHead
    metrics = (
        Metric("wer", formula="word edits / reference words, summed over utterances"),
        Metric("cer", formula="character edits / reference characters (spaces between words included), summed over utterances"),
    )
    card = Card(
        title="Automatic speech recognition",
        data="LibriSpeech (https://www.openslr.org/12), characters: SUPERB's 32 symbols, blank <s>",
        splits={
            "train": "28,539 utterances (train-clean-100)",
            "dev-clean": "2,703",
            "dev-other": "2,864",
            "test-clean": "2,620",
            "test-other": "2,939",
        },
        head="linear projection, 2 BiLSTM layers of 1024 a direction, dropout 0.2, linear to 32; SpecAugment; CTC",
        selection="lowest greedy WER on dev-clean",
        source="SUPERB, Yang et al., 2021, arXiv 2105.01051",
    )

    def __init__(self, corpus: ASRCorpus, head: ASRHead, setting: Setting | None = None) -> None:
        super().__init__(corpus, head, setting)
        self.units = CharacterUnits()

    def cuts(self, split: str) -> CutSet:
        from corpus import librispeech, locate, manifest

        if split in self.corpus.manifests:
            return manifest.read(self.corpus.manifests[split], required=("text",))
        root = locate.locate(librispeech.SOURCE, self.corpus.folder)
        if split != "train":
            return librispeech.read(root, split)
        return librispeech.read_all(root, self.corpus.train)

    def label(self, cut: Cut) -> list[int]:
        return self.units.encode(self.reference(cut), tail=self.keeps(TARGET_TAIL))

    def reference(self, cut: Cut) -> str:
        return " ".join(cut.supervisions[0].text.upper().split())

    def build_head(self, dim: int, stride: int) -> nn.Module:
        from downstream.heads import RecurrentCTC

        return RecurrentCTC(dim, stride, len(self.units), **self.head.model_dump())

    def loss(self, output: CTCOutput, labels: Sequence[list[int]]) -> Tensor:
        from downstream.ctc import ctc_loss

        return ctc_loss(output, labels)

    def predict(self, output: CTCOutput, utt_ids: Sequence[str]) -> list[Prediction]:
        from downstream.ctc import greedy

        return [Prediction(utt_id, self.units.decode(ids)) for utt_id, ids in zip(utt_ids, greedy(output), strict=True)]

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Score]:
        from downstream.metrics import error_rate

        return {"wer": error_rate(predictions, "word"), "cer": error_rate(predictions, "character")}


TASK = ASR
