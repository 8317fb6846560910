"""Query by example (QbE): spoken queries are searched for in spoken documents by subsequence DTW, without any training.

Source: SUPERB (Yang et al., 2021, arXiv 2105.01051), content tasks; s3prl downstream/quesst14_dtw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from corpus.errors import DataError
from engine.task import FRAME_ROUNDING, Block, Card, CorpusBlock, Metric, Prediction, Quirk, Score, SearchTask

if TYPE_CHECKING:
    from lhotse import CutSet
    from torch import Tensor

# s3prl hands the English detections to QUESST's scorer with the ground truth of all languages, and -10 for every pair without a score.
WHOLE_EVALUATION = Quirk(
    "whole_evaluation",
    superb="MTWV over the queries and documents of all six languages of QUESST, those that are not searched counting as not detected",
    corrected="MTWV over the queries and documents that are searched",
)

SEPARATOR = "__"
"""Between query and document in the ids of predictions."""

DECIMALS = 4
"""Of the scores, as in the published detection lists."""


class QbECorpus(CorpusBlock):
    """QUESST 2014 in one of its languages."""

    language: str = "nnenglish"


class QbEHead(Block):
    """How queries are compared with documents, and what is detected.

    Attributes:
        distance: between frames, `cosine` = 1 - cos or `cosine_exp` = exp(1 - cos) - 1.
        threshold: a document counts as a hit where its score lies so many standard deviations above the query's mean.
        target_prior, miss_cost, false_alarm_cost: of the evaluation: QUESST's score-TWV-Cnxe.sh.
    """

    distance: Literal["cosine_exp", "cosine"] = "cosine_exp"
    threshold: float = 2.0
    target_prior: float = Field(0.0008, gt=0, lt=1)
    miss_cost: float = Field(100.0, gt=0)
    false_alarm_cost: float = Field(1.0, gt=0)


class QbE(SearchTask):
    """Spoken term detection on QUESST 2014; the best layer is chosen on the queries of dev."""

    name = "qbe"
    splits = ("dev", "test")
    demo_corpus = "quesst"
    quirks = (FRAME_ROUNDING, WHOLE_EVALUATION)
    Corpus, Head = QbECorpus, QbEHead
    corpus: QbECorpus
    head: QbEHead
    metrics = (
        Metric(
            "mtwv",
            unit="",
            higher_is_better=True,
            formula="maximum over thresholds of 1 - mean over queries of (P(miss) + 12.49 P(false alarm)); finding nothing gives 0",
        ),
    )
    card = Card(
        title="Query by example spoken term detection",
        data="QUESST 2014 (https://speech.fit.vutbr.cz/files/quesst14Database.tgz), non-native English",
        splits={"dev": "138 queries in 2,438 documents", "test": "138 other queries (eval) in the same documents"},
        head="none: normalised features, exp of the cosine distance, subsequence DTW, scores normalised per query",
        selection="layer with the highest MTWV on dev",
        source="SUPERB, Yang et al., 2021, arXiv 2105.01051",
        notes=("an id of a prediction is QUERY__DOCUMENT; prediction and reference are YES or NO",),
    )

    def cuts(self, split: str) -> CutSet:
        from corpus import locate, manifest, quesst

        if split not in self.corpus.manifests:
            return quesst.read(locate.locate(quesst.SOURCE, self.corpus.folder), split, self.corpus.language)
        cuts = manifest.read(self.corpus.manifests[split], required=("kind",))
        queries, _ = quesst.sides(cuts)  # what cannot be searched is refused before anything is encoded
        divided = [query for query in queries if SEPARATOR in query]
        if divided:
            raise DataError(f"the id of the query {divided[0]} contains {SEPARATOR!r}, which ends it in predictions; give it another")
        return cuts

    def search(self, split: str, cuts: CutSet, features: Mapping[str, Tensor]) -> list[Prediction]:
        from corpus import quesst
        from downstream.dtw import match, standardised

        queries, documents = quesst.sides(cuts)
        raw = match([features[utt_id] for utt_id in queries], [features[utt_id] for utt_id in documents], self.head.distance)
        size = self._evaluation(split)
        return [
            Prediction(
                f"{query}{SEPARATOR}{document}",
                _said(score > self.head.threshold),
                _said(document in occurrences),
                {"score": round(score, DECIMALS), **size},
            )
            for (query, occurrences), scores in zip(queries.items(), standardised(raw).tolist(), strict=True)
            for document, score in zip(documents, scores, strict=True)
        ]

    def _evaluation(self, split: str) -> dict[str, float]:
        """Queries and documents of the whole evaluation, which every prediction carries where they count; else nothing."""
        from corpus import locate, quesst

        if split in self.corpus.manifests or not self.keeps(WHOLE_EVALUATION):
            return {}
        size = quesst.evaluation(locate.locate(quesst.SOURCE, self.corpus.folder), split)
        return {"queries": size.queries, "documents": size.documents}

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Score]:
        from downstream.termweighted import QueryScores, false_alarm_weight, maximum

        searched: dict[str, QueryScores] = {}
        for row in predictions:
            scores = searched.setdefault(row.utt_id.split(SEPARATOR)[0], QueryScores([], []))
            (scores.targets if row.reference == _said(True) else scores.others).append(row.scores["score"])
        beta = false_alarm_weight(self.head.target_prior, self.head.miss_cost, self.head.false_alarm_cost)
        queries, documents = (int(predictions[0].scores.get(side, 0)) for side in ("queries", "documents"))
        return {"mtwv": maximum(list(searched.values()), beta, queries, documents)}


def _said(detected: bool) -> str:
    return "YES" if detected else "NO"


TASK = QbE
