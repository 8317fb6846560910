"""The reader of IEMOCAP: evaluations in the published form, four emotions, s3prl's order, and everything that can be missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from corpus import iemocap
from corpus.batch import read_cut
from corpus.errors import DataError
from tests.corpus.make import write_tone

EVALUATION = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes0{n}F_{dialog}_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
A-E3:\tval 3; act 2; dom  2;\t()

[10.0100 - 11.3925]\tSes0{n}F_{dialog}_F001\texc\t[4.0000, 3.5000, 3.5000]
C-E2:\tExcited;\t()

[14.8872 - 18.0175]\tSes0{n}F_{dialog}_M000\tfru\t[2.0000, 3.0000, 3.0000]
C-E2:\tFrustration;\t()

[19.2900 - 20.7875]\tSes0{n}F_{dialog}_M001\tsad\t[2.0000, 2.0000, 2.0000]
C-E2:\tSadness;\t()
"""
NAMES = ("F000", "F001", "M001")  # those with one of the four emotions


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "IEMOCAP_full_release"
    for n in iemocap.SESSIONS:
        for dialog in ("impro02", "impro01"):
            path = evaluation(root, n, dialog)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(EVALUATION.format(n=n, dialog=dialog))
            for name in NAMES:
                write_tone(audio(root, n, dialog, name), 0.2)
    folder = evaluation(root, 1, "").parent
    (folder / "Categorical").mkdir()  # each annotator's own files, and what a Mac leaves behind
    (folder / "Categorical" / "Ses01F_impro01_e1_cat.txt").write_text("Ses01F_impro01_F000 :Neutral state; ()\n")
    (folder / "._Ses01F_impro01.txt").write_bytes(b"\x00\x05\x16\x07")
    return root


def evaluation(root: Path, session: int, dialog: str) -> Path:
    return root / f"Session{session}" / "dialog" / "EmoEvaluation" / f"Ses0{session}F_{dialog}.txt"


def audio(root: Path, session: int, dialog: str, name: str) -> Path:
    folder = f"Ses0{session}F_{dialog}"
    return root / f"Session{session}" / "sentences" / "wav" / folder / f"{folder}_{name}.wav"


def test_four_emotions_are_read_with_their_speakers(root: Path) -> None:
    cuts = iemocap.read(root, [3])
    found = [(cut.id, cut.supervisions[0].speaker, cut.supervisions[0].custom) for cut in cuts][:3]
    assert found == [
        ("Ses03F_impro01_F000", "Ses03F", {"emotion": "neu"}),
        ("Ses03F_impro01_F001", "Ses03F", {"emotion": "hap"}),
        ("Ses03F_impro01_M001", "Ses03M", {"emotion": "sad"}),
    ]
    assert len(cuts) == 6 and len(read_cut(cuts["Ses03F_impro02_M001"])) == 3200


def test_order_is_sessions_as_asked_dialogs_by_name_and_turns_as_listed(root: Path) -> None:
    expected = [f"Ses0{n}F_impro0{dialog}_{name}" for n in (4, 2) for dialog in (1, 2) for name in NAMES]
    assert list(iemocap.read(root, [4, 2]).ids) == expected


def test_turns_may_have_other_names_than_letter_and_number(root: Path) -> None:
    path = evaluation(root, 5, "impro01")
    path.write_text(path.read_text().replace("_M001", "_MXX1"))
    write_tone(audio(root, 5, "impro01", "MXX1"), 0.2)
    assert iemocap.read(root, [5])["Ses05F_impro01_MXX1"].supervisions[0].speaker == "Ses05M"


def test_both_names_of_the_folder_are_found(root: Path) -> None:
    assert iemocap.find(root.parent) == iemocap.find(root) == root
    other = root.rename(root.parent / "IEMOCAP")
    assert iemocap.find(root.parent) == iemocap.find(other) == other
    with pytest.raises(DataError, match=r"no IEMOCAP_full_release in .*Session1.*sail\.usc\.edu"):
        iemocap.find(root.parent.parent)


def test_the_order_of_s3prls_list_is_taken_where_it_lies_in_the_folder(root: Path) -> None:
    by_name = list(iemocap.read(root, [1, 3, 4, 5]).ids)
    assert list(iemocap.read_without(root, 2).ids) == by_name
    write_s3prl_list(root, by_name[::-1])
    assert list(iemocap.read_without(root, 2).ids) == by_name[::-1]
    assert list(iemocap.read_without(root, 3).ids)[0] == by_name[0]  # another fold's list counts for that fold alone


def write_s3prl_list(root: Path, utt_ids: list[str]) -> None:
    """s3prl's form, with what else it holds."""
    rows = [{"path": f"Session{name[4]}/sentences/wav/{name[:-5]}/{name}.wav", "label": "neu", "speaker": name[:6]} for name in utt_ids]
    path = root / "meta_data" / "Session2" / "train_meta_data.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"labels": {"neu": 0}, "meta_data": rows}))


@pytest.mark.parametrize("harm", [lambda ids: ids[1:], lambda ids: [*ids, "Ses01F_impro09_F000"], lambda ids: [*ids, ids[0]]])
def test_a_list_that_names_other_utterances_is_refused(root: Path, harm: Callable[[list[str]], list[str]]) -> None:
    write_s3prl_list(root, harm(list(iemocap.read(root, [1, 3, 4, 5]).ids)))
    with pytest.raises(DataError, match=r"Session2/train_meta_data\.json does not name the utterances that the evaluations name"):
        iemocap.read_without(root, 2)


@pytest.mark.parametrize("content", ["{", "[]", '{"meta_data": [{}]}'])
def test_a_broken_list_is_named(root: Path, content: str) -> None:
    write_s3prl_list(root, [])
    (root / "meta_data" / "Session2" / "train_meta_data.json").write_text(content)
    with pytest.raises(DataError, match=r"train_meta_data\.json is no list of s3prl's"):
        iemocap.read_without(root, 2)


def no_session(root: Path) -> None:
    (root / "Session3").rename(root / "elsewhere")


def no_emotion(root: Path) -> None:
    for path in evaluation(root, 3, "").parent.glob("*.txt"):
        path.write_text(path.read_text().replace("neu", "fru").replace("exc", "sur").replace("sad", "xxx"))


def no_file(root: Path) -> None:
    audio(root, 3, "impro01", "F001").unlink()


def no_audio(root: Path) -> None:
    audio(root, 3, "impro01", "F001").write_bytes(b"")


def strange_line(root: Path) -> None:
    evaluation(root, 3, "impro01").write_text("[1.0 - 2.0] Ses03F_impro01_F000\n")


def listed_twice(root: Path) -> None:
    path = evaluation(root, 3, "impro01")
    path.write_text(path.read_text() * 2)


@pytest.mark.parametrize(
    "harm, message",
    [
        (no_session, r"no folder .*Session3/dialog/EmoEvaluation"),
        (no_emotion, r"no utterance in .*Session3/.*Ses\*\.txt is neu, hap, ang, sad, exc"),
        (no_file, r"Ses03F_impro01\.txt, line 7: no such audio file: .*Ses03F_impro01_F001\.wav"),
        (no_audio, r"Ses03F_impro01\.txt, line 7: .*Ses03F_impro01_F001\.wav is not audio"),
        (strange_line, r"Ses03F_impro01\.txt, line 1: a turn is"),
        (listed_twice, r"Ses03F_impro01\.txt, line 17: Ses03F_impro01_F000 stands in .*line 3 already"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(root: Path, harm: Callable[[Path], None], message: str) -> None:
    harm(root)
    with pytest.raises(DataError, match=message):
        iemocap.read(root, [3])
    assert len(iemocap.read(root, [1, 2, 4, 5])) == 24  # other sessions are none the worse
