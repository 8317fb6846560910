"""What several tasks have in common: symbols by CTC, one class an utterance, and LibriSpeech."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from corpus.errors import DataError
from engine.task import Block, CorpusBlock, HeadTask, Metric, Prediction, Score

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import Cut
    from torch import Tensor, nn

    from downstream.ctc import CTCOutput


class RecurrentCTCHead(Block):
    """See `downstream.heads.RecurrentCTC`."""

    projection: int = Field(1024, gt=0)
    hidden: int = Field(1024, gt=0)
    layers: int = Field(2, gt=0)
    dropout: float = Field(0.2, ge=0, lt=1)
    total_rate: int = -1
    sample_style: Literal["concat", "drop"] = "concat"


class CTCTask(HeadTask):
    """A task that writes symbols: trained by CTC, decoded greedily."""

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """Text of recognised symbols."""

    def loss(self, output: CTCOutput, labels: Sequence[list[int]]) -> Tensor:
        from downstream.ctc import ctc_loss

        return ctc_loss(output, labels)

    def predict(self, output: CTCOutput, utt_ids: Sequence[str]) -> list[Prediction]:
        from downstream.ctc import greedy

        return [Prediction(utt_id, self.decode(ids)) for utt_id, ids in zip(utt_ids, greedy(output), strict=True)]


class LibriSpeechCorpus(CorpusBlock):
    """LibriSpeech: `train` names the splits that train the head."""

    train: list[str] = ["train-clean-100"]


class LibriSpeechTask(HeadTask):
    """A task on LibriSpeech, trained on 100 hours."""

    splits = ("train", "dev-clean", "dev-other", "test-clean", "test-other")
    dev_split, test_split = "dev-clean", "test-clean"
    demo_corpus = "librispeech"
    corpus: LibriSpeechCorpus

    def cuts(self, split: str) -> CutSet:
        """The utterances of a split. Own data needs the column `text`."""
        from corpus import librispeech, locate, manifest

        if split in self.corpus.manifests:
            return manifest.read(self.corpus.manifests[split], required=("text",))
        root = locate.locate(librispeech.SOURCE, self.corpus.folder)
        return librispeech.read_all(root, self.corpus.train) if split == "train" else librispeech.read(root, split)


LIBRISPEECH_SIZES = {
    "train": "28,539 utterances (train-clean-100)",
    "dev-clean": "2,703",
    "dev-other": "2,864",
    "test-clean": "2,620",
    "test-other": "2,939",
}


class PooledHead(Block):
    """See `downstream.heads.MeanPoolingClassifier`."""

    projection: int = Field(256, gt=0)


class ClassificationTask(HeadTask):
    """A task with one class an utterance: the pooled head, cross-entropy, accuracy."""

    metrics: tuple[Metric, ...] = (Metric("acc", higher_is_better=True, formula="utterances whose class is right / utterances"),)
    Head = PooledHead
    head: PooledHead
    kind: ClassVar[str] = "class"
    """What is classified, for messages: "emotion"."""

    @property
    @abstractmethod
    def class_names(self) -> Sequence[str]:
        """All classes; a class's index is its place."""

    @abstractmethod
    def reference(self, cut: Cut) -> str:
        """The class of an utterance, by name."""

    def label(self, cut: Cut) -> int:
        return class_index(self.class_names, self.reference(cut), self.kind, cut)

    def build_head(self, dim: int, stride: int) -> nn.Module:
        from downstream.heads import MeanPoolingClassifier

        return MeanPoolingClassifier(dim, len(self.class_names), projection=self.head.projection)

    def loss(self, output: Tensor, labels: Sequence[int]) -> Tensor:
        import torch

        return torch.nn.functional.cross_entropy(output, torch.tensor(labels, device=output.device))

    def predict(self, output: Tensor, utt_ids: Sequence[str]) -> list[Prediction]:
        best = output.float().softmax(-1).max(-1)
        found = zip(utt_ids, best.indices.tolist(), best.values.tolist(), strict=True)
        return [Prediction(utt_id, self.class_names[index], scores={"probability": value}) for utt_id, index, value in found]

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Score]:
        from downstream.metrics import accuracy

        return {"acc": accuracy(predictions)}


def class_index(names: Sequence[str], name: str, kind: str, cut: Cut) -> int:
    """The place of a class. Raises DataError, naming the file, for one that the training data does not have.

    Args:
        kind: what is classified, for the message.
    """
    if name not in names:
        known = ", ".join(names) if len(names) <= 20 else f"{len(names)} others"
        audio = cut.recording.sources[0].source
        raise DataError(f"{audio}: the {kind} {name!r} is not in the training data, which has {known}; leave the file out")
    return names.index(name)
