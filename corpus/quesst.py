"""QUESST 2014, spoken queries and the documents to be searched for them (Anguera et al., 2015), as Lhotse cuts.

Layout of ``quesst14Database/``: documents ``Audio/quesst14_NNNNN.wav``, queries ``dev_queries/quesst14_dev_NNNN.wav`` and
``eval_queries/quesst14_eval_NNNN.wav``, all at 8 kHz; ``scoring/language_key_{utterances,dev,eval}.lst`` with a path and its
language in each line, the path beginning with the name of the data set; and the ground truth,
``scoring/groundtruth_quesst14_{dev,eval}/quesst14_{dev,eval}.rttm``. That is NIST's RTTM: in its ``LEXEME`` lines the second field
is a document and the sixth a query that occurs in it (or ``NO_KEYWORD``), whatever the times between. As for the scoring script of
the data set, which asks for ``*.rttm``, the name of the file does not matter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.errors import DataError
from corpus.locate import Source
from corpus.whole_file import whole_file

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import Cut, MonoCut

URL = "https://speech.fit.vutbr.cz/files/quesst14Database.tgz"
SOURCE = Source("quesst14Database", ("dev_queries", "eval_queries"), URL)
ENGLISH = "nnenglish"
"""Non-native English, the language that SUPERB takes."""

PARTS = {"dev": "dev", "test": "eval"}
"""What the data set calls the queries of a split."""


@dataclass(frozen=True)
class Evaluation:
    """Size of an evaluation: its documents, and those of its queries that occur in some document."""

    queries: int
    documents: int


def read(root: Path | str, split: str, language: str = ENGLISH) -> CutSet:
    """The queries of a split and the documents of one language, in the order of the lists, queries first.

    The supervision of a cut has the labels ``kind``, "query" or "document", and for a query ``documents``, the ids of those among
    them in which it occurs, sorted, with spaces between.

    Args:
        root: the folder ``quesst14Database``.
        split: one of `PARTS`.
    Raises:
        DataError: a missing or malformed list or ground truth, a language without queries or documents, an id listed twice, audio
            that is missing or cannot be read.
    """
    from lhotse import CutSet

    root, part = Path(root), PARTS[split]
    queries, documents = (_of_language(root, name, language) for name in (part, "utterances"))
    occurrences, searched = _occurrences(root, part), {file.utt_id for file in documents}
    labels = [{"kind": "query", "documents": " ".join(sorted(occurrences[file.utt_id] & searched))} for file in queries]
    cuts: dict[str, MonoCut] = {}
    for file, label in zip([*queries, *documents], labels + [{"kind": "document"}] * len(documents), strict=True):
        if file.utt_id in cuts:
            raise DataError(f"{file.where}: {file.utt_id} is listed already; every query and document needs an id of its own")
        cuts[file.utt_id] = whole_file(file.path, file.utt_id, file.where, labels=label)
    return CutSet.from_cuts(cuts.values())


def sides(cuts: Iterable[Cut]) -> tuple[dict[str, set[str]], list[str]]:
    """The documents in which each query occurs, and all documents, by id; from the labels that `read` gives, or from a user's own.

    Raises:
        DataError: a cut is neither, a query is said to occur in what is no document, or one of the sides is empty.
    """
    queries: dict[str, set[str]] = {}
    documents: list[str] = []
    for cut in cuts:
        labels = cut.supervisions[0].custom or {}
        if labels.get("kind") == "query":
            queries[cut.id] = set(str(labels.get("documents", "")).split())
        elif labels.get("kind") == "document":
            documents.append(cut.id)
        else:
            raise DataError(f"{cut.id}: the kind of an utterance is 'query' or 'document', not {labels.get('kind')!r}")
    if not queries or not documents:
        raise DataError(f"{len(queries)} queries and {len(documents)} documents: a search needs both (column kind)")
    for query, occurrences in queries.items():
        unknown = sorted(occurrences.difference(documents))
        if unknown:
            raise DataError(f"the query {query} is said to occur in {unknown[0]}, which is no document here (column documents)")
    return queries, documents


def evaluation(root: Path | str, split: str) -> Evaluation:
    """Size of the whole evaluation that a split belongs to, all languages together."""
    root, part = Path(root), PARTS[split]
    occurrences = _occurrences(root, part)
    return Evaluation(sum(file.utt_id in occurrences for file in _files(root, part)), len(_files(root, "utterances")))


@dataclass(frozen=True)
class _File:
    """A line of a list."""

    path: Path
    language: str
    where: str

    @property
    def utt_id(self) -> str:
        return self.path.stem


def _of_language(root: Path, name: str, language: str) -> list[_File]:
    files = _files(root, name)
    chosen = [file for file in files if file.language == language]
    if not chosen:
        languages = ", ".join(sorted({file.language for file in files})) or "none"
        raise DataError(f"{_list(root, name)} lists nothing in the language {language!r}; languages there: {languages}")
    return chosen


def _files(root: Path, name: str) -> list[_File]:
    """The files of a list, in its order."""
    files = []
    for where, fields in _lines(_list(root, name)):
        below = fields[0].partition("/")[2]  # the first component is dropped, whatever it is
        if len(fields) != 2 or not below:
            raise DataError(f"{where}: a path such as {SOURCE.folder}/Audio/quesst14_00001.wav and its language are expected")
        files.append(_File(root / below, fields[1], where))
    return files


def _list(root: Path, name: str) -> Path:
    return root / "scoring" / f"language_key_{name}.lst"


def _occurrences(root: Path, part: str) -> defaultdict[str, set[str]]:
    """The documents of each query that occurs in any."""
    folder = root / "scoring" / f"groundtruth_quesst14_{part}"
    found = sorted(folder.glob("*.rttm"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise DataError(f"one .rttm file, the ground truth, is expected in {folder}; there: {names}. Unpack {URL} again")
    documents: defaultdict[str, set[str]] = defaultdict(set)
    for where, fields in _lines(found[0]):
        if fields[0] == "LEXEME":
            if len(fields) < 6:
                raise DataError(f"{where}: LEXEME, document, channel, begin, duration and query are expected")
            documents[fields[5]].add(fields[1])
    return documents


def _lines(path: Path) -> list[tuple[str, list[str]]]:
    """(where, fields between white space) of the lines of a file that are not empty."""
    if not path.is_file():
        raise DataError(f"no such file: {path}; unpack {URL} again")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [(f"{path}, line {number}", fields) for number, line in enumerate(lines, 1) if (fields := line.split())]
