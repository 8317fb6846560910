"""Speaker diarization (SD): who speaks when in mixtures of two speakers, by permutation-invariant training, diarization error rate.

Source: SUPERB (Yang et al., 2021, arXiv 2105.01051), speaker tasks; s3prl downstream/diarization.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from corpus.batching import Batching
from corpus.errors import DataError
from engine.task import FRAME_ROUNDING, Block, Card, CorpusBlock, HeadTask, Metric, Outcomes, Prediction, Quirk, Score, Setting

if TYPE_CHECKING:
    import numpy as np
    from lhotse import CutSet
    from lhotse.cut import Cut
    from torch import Tensor, nn

    from downstream.diarization import Activities, Mixture

UNLABELLED_SPANNING_TURNS = Quirk(
    "unlabelled_spanning_segments",
    superb="a turn that begins before a chunk and ends after it is left out of the chunk's labels",
    corrected="such a turn is labelled over the whole chunk",
)
SELECTED_BY_ACCURACY = Quirk(
    "selected_by_accuracy",
    superb="the frame accuracy on the development split selects the checkpoint",
    corrected="the diarization error rate on the development split selects it",
)
TUNED_ON_TEST = Quirk(
    "tuned_on_test",
    superb="threshold and median filter are those of the lowest error rate on the very split that is scored",
    corrected="they are those of the lowest error rate on the development split",
)
CHUNK_PERMUTATIONS = Quirk(
    "chunk_permutations",
    superb="chunks of a mixture are joined as they come, though their speakers may be in another order",
    corrected="mixtures of the development and test splits are not cut into chunks",
)

DER = Metric("der", formula="seconds missed, falsely alarmed and confused / seconds of reference speech, summed over mixtures")
ACC = Metric("acc", higher_is_better=True, formula="correct cells (frame, speaker) at threshold 0.5 / all, each chunk's best speaker order")


class SDCorpus(CorpusBlock):
    """LibriMix.

    Attributes:
        chunk_frames: length of what the head sees at once, in frames of the upstream.
        collar: seconds around the beginnings and ends of reference turns that are not scored.
    """

    chunk_frames: int = Field(2000, gt=0)
    collar: float = Field(0.0, ge=0)
    batching: Batching = Batching(method="random", batch_size=8)


class SDHead(Block):
    """See `downstream.diarization.RecurrentDiarizer`."""

    hidden: int = Field(512, gt=0)
    layers: int = Field(1, gt=0)
    pooling: int = Field(1, gt=0)


class SD(HeadTask):
    """Two-speaker diarization on LibriMix."""

    name = "sd"
    splits = ("train", "dev", "test")
    demo_corpus = "librimix"
    quirks = (FRAME_ROUNDING, UNLABELLED_SPANNING_TURNS, SELECTED_BY_ACCURACY, TUNED_ON_TEST, CHUNK_PERMUTATIONS)
    Corpus, Head = SDCorpus, SDHead
    corpus: SDCorpus
    head: SDHead
    metrics = (DER, ACC)
    card = Card(
        title="Speaker diarization",
        data="Libri2Mix 16 kHz max mix_both (https://github.com/s3prl/LibriMix), prepared as LibriMix-SD/{train,dev,test}",
        splits={"train": "13,900 mixtures (train-100)", "dev": "3,000", "test": "3,000"},
        head="LSTM of 512, linear to 2 speakers; permutation-invariant binary cross-entropy",
        selection="highest frame accuracy on dev (corrected: lowest DER)",
        source="SUPERB, Yang et al., 2021, arXiv 2105.01051",
        notes=(
            "DER without collar, overlap scored; thresholds 0.3 to 0.7, each with median filters of 1 and 11 frames",
            "s3prl also scores the padding behind a shorter last chunk (a stride of 160 and mixtures beyond 20 s); not reproduced",
        ),
    )

    def __init__(self, corpus: SDCorpus, head: SDHead, setting: Setting | None = None) -> None:
        super().__init__(corpus, head, setting)
        if self.keeps(SELECTED_BY_ACCURACY):
            self.metrics = (ACC, DER)  # of this run: the first one selects

    def cuts(self, split: str) -> CutSet:
        from corpus import librimix, locate, manifest
        from downstream.diarization import with_turns

        if split in self.corpus.manifests:
            mixtures = manifest.read(self.corpus.manifests[split], required=("turns",)).map(with_turns)
        else:
            mixtures = librimix.read(locate.locate(librimix.SOURCE, self.corpus.folder), split)
        if split != self.train_split and not self.keeps(CHUNK_PERMUTATIONS):
            return mixtures
        return librimix.chunks(mixtures, self.corpus.chunk_frames * self.setting.stride / 16_000)

    def label(self, cut: Cut) -> np.ndarray:
        """(frames, 2) float32: who speaks in each whole frame of the chunk."""
        from downstream.diarization import frame_labels, turns_of

        frames = max(1, round(cut.duration * 16_000) // self.setting.stride)
        try:
            return frame_labels(turns_of(cut), frames, self.setting.stride, spanning=not self.keeps(UNLABELLED_SPANNING_TURNS))
        except ValueError as error:
            raise DataError(f"{cut.recording.sources[0].source}: {error}; the head tells two apart, leave the mixture out") from None

    def build_head(self, dim: int, stride: int) -> nn.Module:
        from downstream.diarization import RecurrentDiarizer

        return RecurrentDiarizer(dim, **self.head.model_dump())

    def loss(self, output: Activities, labels: Sequence[np.ndarray]) -> Tensor:
        from downstream.diarization import permutation_invariant_loss

        return permutation_invariant_loss(output, labels)

    def predict(self, output: Activities, utt_ids: Sequence[str]) -> list[np.ndarray]:
        """The probabilities (frames, 2) of each chunk."""
        logits, lengths = output
        probabilities = logits.float().sigmoid().cpu().numpy()
        return [found[:length] for found, length in zip(probabilities, lengths.tolist(), strict=True)]

    def infer(self, output: Activities, utt_ids: Sequence[str]) -> list[Prediction]:
        """The turns of speakers "1" and "2" at the middle of the benchmark's settings: there is nothing to tune on."""
        from downstream.diarization import Smoothing, find_turns, write_turns

        turns = [find_turns(probabilities, Smoothing(), self.setting.stride) for probabilities in self.predict(output, utt_ids)]
        return [Prediction(utt_id, write_turns(found)) for utt_id, found in zip(utt_ids, turns, strict=True)]

    def collect(self, outcomes: Outcomes, dev: Callable[[], Outcomes]) -> list[Prediction]:
        """One prediction a mixture: its turns as text, as `downstream.diarization.write_turns` writes them."""
        from downstream.diarization import best_smoothing, find_turns, write_turns

        mixtures = self._mixtures(outcomes)
        own = outcomes.split == self.dev_split or self.keeps(TUNED_ON_TEST)
        tuning = mixtures if own else self._mixtures(dev())
        smoothing = best_smoothing(tuning.values(), self.setting.stride, self.corpus.collar)
        return [
            Prediction(
                mixture_id,
                write_turns(find_turns(mixture.probabilities, smoothing, self.setting.stride)),
                write_turns(mixture.reference),
                {
                    "threshold": smoothing.threshold,
                    "median": float(smoothing.median),
                    "correct_cells": float(mixture.correct),
                    "cells": float(mixture.probabilities.size),
                },
            )
            for mixture_id, mixture in mixtures.items()
        ]

    def _mixtures(self, outcomes: Outcomes) -> dict[str, Mixture]:
        from downstream.diarization import join_chunks

        cuts = outcomes.cuts
        return join_chunks((cuts[utt_id], found, self.label(cuts[utt_id])) for utt_id, found in outcomes.found.items())

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Score]:
        from downstream.diarization import diarization_errors, read_turns
        from downstream.metrics import ratio

        rows = [(read_turns(row.reference or ""), read_turns(row.prediction)) for row in predictions]
        errors = [diarization_errors(reference, found, self.corpus.collar) for reference, found in rows]
        correct, cells = ([row.scores[name] for row in predictions] for name in ("correct_cells", "cells"))
        return {"der": ratio([error.total for error in errors], [error.speech for error in errors]), "acc": ratio(correct, cells)}


TASK = SD
