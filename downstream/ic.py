"""Intent classification (IC): action, object and location of a spoken command, on Fluent Speech Commands; all three must be right.

Source: SUPERB (Yang et al., 2021, arXiv 2105.01051), semantic tasks; s3prl downstream/fluent_commands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from corpus.batching import Batching
from downstream.kinds import PooledHead, class_index
from engine.task import Card, Classes, CorpusBlock, HeadTask, Metric, Prediction, Score

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import Cut
    from torch import Tensor, nn

SLOTS = ("action", "object", "location")


class ICCorpus(CorpusBlock):
    """Fluent Speech Commands."""

    batching: Batching = Batching(method="random", batch_size=32)


class IC(HeadTask):
    """Three classifications at once on Fluent Speech Commands."""

    name = "ic"
    splits = ("train", "dev", "test")
    demo_corpus = "fluent"
    Corpus, Head = ICCorpus, PooledHead
    corpus: ICCorpus
    head: PooledHead
    metrics = (Metric("acc", higher_is_better=True, formula="utterances whose action, object and location are all right / utterances"),)
    card = Card(
        title="Intent classification",
        data="Fluent Speech Commands (Lugosch et al., 2019, arXiv 1904.03670): 6 actions, 14 objects, 4 locations",
        splits={"train": "23,132 utterances", "dev": "3,118", "test": "3,793"},
        head="linear projection to 256, mean over frames, linear to 24 (6 + 14 + 4); sum of three cross-entropies",
        selection="highest accuracy on dev",
        source="SUPERB, Yang et al., 2021, arXiv 2105.01051",
        notes=("A prediction is 'ACTION,OBJECT,LOCATION'. Classes stand in the order in which the training list names them.",),
    )

    def cuts(self, split: str) -> CutSet:
        """The utterances of a split. Own data needs the columns `action`, `object` and `location`."""
        from corpus import fluent, locate, manifest

        if split in self.corpus.manifests:
            return manifest.read(self.corpus.manifests[split], required=SLOTS)
        return fluent.read(locate.locate(fluent.SOURCE, self.corpus.folder), split)

    def find_classes(self, cuts: CutSet) -> Classes:
        """The names of each slot, in the order of their first appearance."""
        named = [_intent(cut) for cut in cuts]
        return {slot: list(dict.fromkeys(intent[index] for intent in named)) for index, slot in enumerate(SLOTS)}

    def label(self, cut: Cut) -> tuple[int, ...]:
        """The index of each slot's class."""
        names = zip(SLOTS, _intent(cut), strict=True)
        return tuple(class_index(self.setting.classes[slot], name, slot, cut) for slot, name in names)

    def reference(self, cut: Cut) -> str:
        return ",".join(_intent(cut))

    @property
    def _sizes(self) -> list[int]:
        return [len(self.setting.classes[slot]) for slot in SLOTS]

    def build_head(self, dim: int, stride: int) -> nn.Module:
        from downstream.heads import MeanPoolingClassifier

        return MeanPoolingClassifier(dim, sum(self._sizes), projection=self.head.projection)

    def loss(self, output: Tensor, labels: Sequence[tuple[int, ...]]) -> Tensor:
        import torch

        targets = torch.tensor(labels, device=output.device)
        logits = output.split(self._sizes, dim=1)
        return torch.stack([torch.nn.functional.cross_entropy(part, targets[:, slot]) for slot, part in enumerate(logits)]).sum()

    def predict(self, output: Tensor, utt_ids: Sequence[str]) -> list[Prediction]:
        best = [part.argmax(1).tolist() for part in output.split(self._sizes, dim=1)]
        names = [[self.setting.classes[slot][index] for index in found] for slot, found in zip(SLOTS, best, strict=True)]
        return [Prediction(utt_id, ",".join(intent)) for utt_id, intent in zip(utt_ids, zip(*names, strict=True), strict=True)]

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Score]:
        from downstream.metrics import accuracy

        return {"acc": accuracy(predictions)}


def _intent(cut: Cut) -> tuple[str, ...]:
    return tuple(str(cut.supervisions[0].custom[slot]) for slot in SLOTS)


TASK = IC
