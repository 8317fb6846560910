"""Speaker identification (SID): who of the training speakers says an utterance of VoxCeleb1, accuracy.

Source: SUPERB (Yang et al., 2021, arXiv 2105.01051), speaker tasks; s3prl downstream/voxceleb1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from corpus.batching import Batching
from downstream.speakers import SpeakerCorpus, SpeakerTask
from engine.task import Block, Card, Metric, Prediction, Score

if TYPE_CHECKING:
    from lhotse import CutSet
    from torch import Tensor, nn


class SIDCorpus(SpeakerCorpus):
    """VoxCeleb1.

    Attributes:
        split_list: the identification split where it is not `iden_split.txt` or `veri_test_class.txt`; relative paths start at
            the folder `VoxCeleb1`.
    """

    split_list: Path | None = None
    batching: Batching = Batching(method="random", batch_size=8)


class SIDHead(Block):
    """See `downstream.heads.MeanPoolingClassifier`."""

    projection: int = Field(256, gt=0)


class SID(SpeakerTask):
    """Classification among the training speakers of VoxCeleb1."""

    name = "sid"
    splits = ("train", "dev", "test")
    Corpus, Head = SIDCorpus, SIDHead
    corpus: SIDCorpus
    head: SIDHead
    metrics = (Metric("acc", higher_is_better=True, formula="utterances whose speaker is named rightly / utterances"),)
    card = Card(
        title="Speaker identification",
        data="VoxCeleb1 (https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox1.html), its identification split, 1,251 speakers",
        splits={"train": "138,361 utterances (parts of 8 s at most)", "dev": "6,904", "test": "8,251"},
        head="linear to 256 a frame, mean over frames, linear to the speakers; cross-entropy",
        selection="highest accuracy on dev",
        source="SUPERB, Yang et al., 2021, arXiv 2105.01051",
    )

    def cuts(self, split: str) -> CutSet:
        from corpus import manifest

        if split in self.corpus.manifests:
            return manifest.read(self.corpus.manifests[split], required=("speaker",))
        return self.voxceleb.identification(split, self.corpus.split_list)

    def build_head(self, dim: int, stride: int) -> nn.Module:
        from downstream.heads import MeanPoolingClassifier

        return MeanPoolingClassifier(dim, len(self.speakers), projection=self.head.projection)

    def loss(self, output: Tensor, labels: Sequence[int]) -> Tensor:
        import torch
        import torch.nn.functional as F

        return F.cross_entropy(output, torch.tensor(labels, device=output.device))

    def predict(self, output: Tensor, utt_ids: Sequence[str]) -> list[Prediction]:
        return [Prediction(utt_id, self.speakers[place]) for utt_id, place in zip(utt_ids, output.argmax(1).tolist(), strict=True)]

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Score]:
        from downstream.metrics import accuracy

        return {"acc": accuracy(predictions)}


TASK = SID
