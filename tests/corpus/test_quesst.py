"""The QUESST 2014 reader: queries, documents and ground truth in the published layout, and what is missing or broken named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from corpus import locate, quesst
from corpus.batch import load_batch
from corpus.errors import DataError
from corpus.quesst import Evaluation
from tests.corpus.make import write_tone

DOCUMENTS, QUERIES = 6, 2
"""Of each language."""


def make(data: Path, languages: Sequence[str] = ("nnenglish",)) -> Path:
    """A QUESST 2014 of tones at 8 kHz; query 1 of a language is in its document 1, query 2 in its document 3."""
    root = data / "quesst14Database"
    for folder, name, part, count in (
        ("Audio", "quesst14_{:05}", "utterances", DOCUMENTS),
        ("dev_queries", "quesst14_dev_{:04}", "dev", QUERIES),
        ("eval_queries", "quesst14_eval_{:04}", "eval", QUERIES),
    ):
        lines, truth = [], []
        for index in range(count * len(languages)):
            stem = name.format(index + 1)
            write_tone(root / folder / f"{stem}.wav", 0.2 + 0.1 * (index % 3), rate=8000)
            lines.append(f"quesst14Database/{folder}/{stem}.wav {languages[index // count]}\n")
            document = DOCUMENTS * (index // count) + (1, 3, 0)[index % count] if part != "utterances" else 0
            truth.append(f"LEXEME quesst14_{document:05} 1 0.10 0.20 {stem} lex <NA> <NA>\n")
        (root / "scoring").mkdir(exist_ok=True)
        (root / "scoring" / f"language_key_{part}.lst").write_text("".join(lines))
        if part != "utterances":
            rttm = root / "scoring" / f"groundtruth_quesst14_{part}" / f"quesst14_{part}.rttm"
            rttm.parent.mkdir()
            rttm.write_text(";; a comment\nSPKR-INFO quesst14_00001 1 <NA> <NA> <NA> unknown s <NA>\n" + "".join(truth))
    return root


def scoring(root: Path, name: str) -> Path:
    return root / "scoring" / name


def append(path: Path, line: str) -> None:
    path.write_text(path.read_text() + line + "\n")


@pytest.mark.parametrize("split, part", [("dev", "dev"), ("test", "eval")])
def test_queries_come_first_and_know_their_documents(tmp_path: Path, split: str, part: str) -> None:
    cuts = quesst.read(locate.locate(quesst.SOURCE, make(tmp_path).parent), split)
    assert [cut.id for cut in cuts] == [f"quesst14_{part}_000{n}" for n in (1, 2)] + [f"quesst14_0000{n}" for n in range(1, 7)]
    assert cuts[f"quesst14_{part}_0002"].supervisions[0].custom == {"kind": "query", "documents": "quesst14_00003"}
    assert cuts["quesst14_00001"].supervisions[0].custom == {"kind": "document"}
    assert load_batch(list(cuts)[:2]).lengths.tolist() == [3200, 4800]  # 16 kHz


def test_one_language_is_read_and_the_whole_evaluation_counted(tmp_path: Path) -> None:
    root = make(tmp_path, ("czech", "nnenglish"))
    cuts = quesst.read(root, "dev")
    assert [cut.id for cut in cuts][:3] == ["quesst14_dev_0003", "quesst14_dev_0004", "quesst14_00007"] and len(cuts) == 8
    assert quesst.sides(cuts)[0] == {"quesst14_dev_0003": {"quesst14_00007"}, "quesst14_dev_0004": {"quesst14_00009"}}
    assert [cut.id for cut in quesst.read(root, "dev", "czech")][0] == "quesst14_dev_0001"
    assert quesst.evaluation(root, "dev") == Evaluation(queries=4, documents=12)
    with pytest.raises(DataError, match=r"language_key_dev\.lst lists nothing in the language 'english'; .*: czech, nnenglish"):
        quesst.read(root, "dev", "english")


def test_ground_truth_is_by_document_and_may_lack_a_query(tmp_path: Path) -> None:
    root = make(tmp_path)
    rttm = scoring(root, "groundtruth_quesst14_dev/quesst14_dev.rttm")
    rttm.write_text(
        "LEXEME quesst14_00002 1 0.1 0.2 quesst14_dev_0001 lex <NA> <NA>\n"
        "LEXEME quesst14_00002 1 0.3 0.2 quesst14_dev_0001 lex <NA> <NA>\n"
        "LEXEME quesst14_00001 1 0.1 0.2 quesst14_dev_0001 lex <NA> <NA>\n"
        "LEXEME quesst14_00004 1 0.0 0.0 NO_KEYWORD lex <NA> <NA>\n"
        "LEXEME quesst14_99999 1 0.1 0.2 quesst14_dev_0001 lex <NA> <NA>\n"  # of another language
    )
    queries, documents = quesst.sides(quesst.read(root, "dev"))
    assert queries == {"quesst14_dev_0001": {"quesst14_00001", "quesst14_00002"}, "quesst14_dev_0002": set()}
    assert len(documents) == DOCUMENTS
    assert quesst.evaluation(root, "dev") == Evaluation(queries=1, documents=DOCUMENTS)  # as the scorer: unseen queries go


def test_the_first_component_of_a_path_is_dropped_whatever_it_is(tmp_path: Path) -> None:
    root = make(tmp_path)
    dev = scoring(root, "language_key_dev.lst")
    expected = [cut.id for cut in quesst.read(root, "dev")]
    for first in (".", "somewhere"):
        dev.write_text("".join(f"{first}/{line.partition('/')[2]}\n" for line in dev.read_text().splitlines()))
        assert [cut.id for cut in quesst.read(root, "dev")] == expected


def test_missing_lists_and_ground_truth_are_named(tmp_path: Path) -> None:
    root = make(tmp_path)
    with pytest.raises(DataError, match="no quesst14Database in"):
        locate.locate(quesst.SOURCE, root / "Audio")
    scoring(root, "groundtruth_quesst14_eval/quesst14_eval.rttm").unlink()
    with pytest.raises(DataError, match=r"one \.rttm file.*groundtruth_quesst14_eval; there: none"):
        quesst.read(root, "test")
    scoring(root, "language_key_utterances.lst").unlink()
    with pytest.raises(DataError, match=r"no such file: .*language_key_utterances\.lst"):
        quesst.read(root, "dev")


@pytest.mark.parametrize("line", ["quesst14Database/Audio/quesst14_00007.wav", "quesst14_00007.wav nnenglish", "a/b.wav nnenglish x"])
def test_malformed_lists_are_named_with_their_line(tmp_path: Path, line: str) -> None:
    root = make(tmp_path)
    append(scoring(root, "language_key_utterances.lst"), line)
    with pytest.raises(DataError, match=r"language_key_utterances\.lst, line 7: a path such as"):
        quesst.read(root, "dev")


def test_malformed_ground_truth_is_named_with_its_line(tmp_path: Path) -> None:
    root = make(tmp_path)
    append(scoring(root, "groundtruth_quesst14_dev/quesst14_dev.rttm"), "LEXEME quesst14_00001 1 0.1")
    with pytest.raises(DataError, match=r"quesst14_dev\.rttm, line 5: LEXEME, document"):
        quesst.read(root, "dev")


@pytest.mark.parametrize("name", ["Audio/quesst14_00001.wav", "dev_queries/quesst14_00001.wav"])
def test_an_id_listed_twice_is_named(tmp_path: Path, name: str) -> None:
    root = make(tmp_path)
    write_tone(root / name, 0.2)
    append(scoring(root, f"language_key_{'utterances' if name[0] == 'A' else 'dev'}.lst"), f"quesst14Database/{name} nnenglish")
    with pytest.raises(DataError, match="quesst14_00001 is listed already"):
        quesst.read(root, "dev")


def test_missing_and_broken_audio_is_named_with_the_line_that_lists_it(tmp_path: Path) -> None:
    root = make(tmp_path)
    (root / "Audio" / "quesst14_00002.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"language_key_utterances\.lst, line 2: .*quesst14_00002\.wav is not audio"):
        quesst.read(root, "dev")
    (root / "dev_queries" / "quesst14_dev_0001.wav").unlink()
    with pytest.raises(DataError, match=r"language_key_dev\.lst, line 1: no such audio file: .*quesst14_dev_0001\.wav"):
        quesst.read(root, "dev")
