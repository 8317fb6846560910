"""Two small tasks on the tone bursts of `make.speech`: the first letter by a pooled head, and a search without training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lhotse import CutSet
from lhotse.cut import Cut
from torch import Tensor, nn

from corpus import librispeech
from corpus.batching import Batching
from downstream.heads import MeanPoolingClassifier
from downstream.metrics import accuracy
from engine.task import (
    FRAME_ROUNDING,
    Card,
    Classes,
    CorpusBlock,
    HeadTask,
    Metric,
    Outcomes,
    Prediction,
    Quirk,
    Score,
    SearchTask,
    TaskError,
)  # fmt: skip
from tests.engine import make
from upstream.registry import Registry

SHOUTED = Quirk("shouted", superb="predictions in upper case", corrected="predictions in lower case")
CARD = Card("Toy", "tone bursts", {"train": "8"}, "pooled", "highest accuracy", "nobody")
FOLDERS = {"train": "train-clean-100", "dev": "dev-clean", "test": "test-clean"}
RECIPE = """
task: NAME
corpus: {batching: {method: random, batch_size: 4}}
head: {}
runner: {total_steps: 6, eval_step: 3, save_step: 2, log_step: 2, max_keep: 9, eval_dataloaders: [dev]}
optimizer: {name: Adam, lr: 1.0e-2}
"""


def read(corpus: CorpusBlock, split: str) -> CutSet:
    return librispeech.read(corpus.folder / "LibriSpeech", FOLDERS[split])


class ToyCorpus(CorpusBlock):
    half: str = "first"
    batching: Batching = Batching(batch_size=4)
    seconds: float | None = None


class Toy(HeadTask):
    """The first letter, or with `half: second` the last one."""

    name, card, splits, demo_corpus = "toy", CARD, ("train", "dev", "test"), "librispeech"
    metrics = (Metric("acc", higher_is_better=True),)
    variants, variant_key = ("first", "second"), "half"
    quirks = (FRAME_ROUNDING, SHOUTED)
    Corpus = ToyCorpus
    corpus: ToyCorpus
    dev_heard = 0

    def cuts(self, split: str) -> CutSet:
        return read(self.corpus, split)

    def unavailable(self, split: str) -> str | None:
        return "the second half has no dev" if self.corpus.half == "none" and split == "dev" else None

    def _name(self, cut: Cut) -> str:
        return cut.supervisions[0].text[0 if self.corpus.half == "first" else -1]

    def find_classes(self, cuts: CutSet) -> Classes:
        return {"letter": list(make.LETTERS)}

    def crop_seconds(self, cut: Cut) -> float | None:
        return self.corpus.seconds

    def label(self, cut: Cut) -> int:
        return self.setting.classes["letter"].index(self._name(cut))

    def build_head(self, dim: int, stride: int) -> nn.Module:
        return MeanPoolingClassifier(dim, len(self.setting.classes["letter"]), projection=8)

    def loss(self, output: Tensor, labels: Sequence[int]) -> Tensor:
        return F.cross_entropy(output, torch.tensor(labels))

    def predict(self, output: Tensor, utt_ids: Sequence[str]) -> list[Prediction]:
        names = [self.setting.classes["letter"][index] for index in output.argmax(-1).tolist()]
        return [Prediction(utt_id, name) for utt_id, name in zip(utt_ids, names, strict=True)]

    def collect(self, outcomes: Outcomes, dev: Callable[[], Outcomes]) -> list[Prediction]:
        if self.keeps(SHOUTED) is False:
            assert dev().split == "dev" and set(dev().found) == set(dev().cuts)
        return super().collect(outcomes, dev)

    def reference(self, cut: Cut) -> str:
        return self._name(cut)

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Score]:
        return {"acc": accuracy(predictions)}


class ToyOnTest(Toy):
    """The same, judged by the best of all checkpoints on test."""

    name, chosen_on_test = "toytest", True


class ToySearch(SearchTask):
    """Whether the longer half of a split holds the loudest frame."""

    name, card, splits, demo_corpus = "toysearch", CARD, ("dev", "test"), "librispeech"
    metrics = (Metric("acc", higher_is_better=True),)

    def cuts(self, split: str) -> CutSet:
        return read(self.corpus, split)

    def search(self, split: str, cuts: CutSet, features: Mapping[str, Tensor]) -> list[Prediction]:
        assert all(features[cut.id].ndim == 2 for cut in cuts)
        loudness = {cut.id: float(features[cut.id].abs().max()) for cut in cuts}
        middle = sorted(loudness.values())[len(loudness) // 2]
        return [Prediction(cut.id, str(loudness[cut.id] >= middle), str(cut.duration > 1)) for cut in cuts]

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Score]:
        return {"acc": accuracy(predictions)}


def registry(folder: Path) -> Registry:
    """The toy tasks, with recipes in `folder`."""
    tasks: list[Any] = [Toy, ToyOnTest, ToySearch]
    for preset in ("superb", "mini"):
        (folder / preset).mkdir(parents=True, exist_ok=True)
        for task in tasks:
            text = RECIPE.replace("NAME", task.name) if task is not ToySearch else f"task: {task.name}\n"
            (folder / preset / f"{task.name}.yaml").write_text(text)
    for task in tasks:
        task.recipes = folder
    targets = {task.name: f"tests.engine.toy:{task.__name__}" for task in tasks}
    return Registry("task", TaskError, lambda: targets, "weir.no-such-group")
