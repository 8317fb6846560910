"""Text units: SUPERB's vocabularies to the letter, there and back."""

from __future__ import annotations

import pytest

from corpus.errors import DataError
from corpus.units import CharacterUnits, PhoneUnits, SlotUnits


def test_the_character_vocabulary_is_superbs():
    units = CharacterUnits()
    assert " ".join(units.symbols) == "<s> <pad> </s> <unk> | E T A O N I H S R D L U M W C F G Y P B V K ' X J Q Z"
    assert len(units) == 32 and units.symbols[units.blank] == "<s>"


def test_text_becomes_letters_with_superbs_tail_or_without():
    units = CharacterUnits()
    assert [units.symbols[i] for i in units.encode("a  B")] == ["A", "|", "B", "|", "</s>"]
    assert [units.symbols[i] for i in units.encode("A B", tail=False)] == ["A", "|", "B"]
    assert units.encode("", tail=False) == []


@pytest.mark.parametrize("tail", [True, False])
def test_characters_come_back(tail):
    units = CharacterUnits()
    assert units.decode(units.encode("it's a quick brown fox", tail)) == "IT'S A QUICK BROWN FOX"


def test_unknown_characters_are_visible_and_special_ones_are_not():
    units = CharacterUnits()
    assert units.encode("1|", tail=False) == [units.symbols.index("<unk>"), units.symbols.index("|")]
    assert units.decode([0, 1, *units.encode("A5", tail=False), 2]) == "A<unk>"
    assert units.decode([]) == ""


def test_the_phone_vocabulary_is_superbs(tmp_path):
    symbols = PhoneUnits([]).symbols
    assert len(symbols) == 74 and symbols[:5] == ("<pad>", "<eos>", "<unk>", "SIL", "SPN")
    assert symbols[5:11] == ("AA0", "AA1", "AA2", "AE0", "AE1", "AE2") and symbols[-2:] == ("Z", "ZH")
    assert len([symbol for symbol in symbols if symbol[-1] in "012"]) == 45


def test_the_first_pronunciation_of_the_first_lexicon_wins(tmp_path):
    (tmp_path / "one").write_text("THE\tDH AH0\nTHE  DH IY0\n\ntwo T UW1\n")
    (tmp_path / "two").write_text("THE T\nEIGHT EY1 T\n")
    units = PhoneUnits([tmp_path / "one", tmp_path / "two"])
    assert units.decode(units.encode("the two EIGHT")) == "DH AH0 T UW1 EY1 T"
    assert units.symbols[units.encode("two")[-1]] == "<eos>"
    assert len(units.encode("two", tail=False)) == 2


def test_missing_words_are_listed(tmp_path):
    (tmp_path / "one").write_text("A AH0\n")
    units = PhoneUnits([tmp_path / "one"])
    assert units.missing(["a b", "c B"]) == ["B", "C"]
    with pytest.raises(DataError, match=r"2 words have no pronunciation .*one\): B, C"):
        units.check(["a b", "c b"])
    with pytest.raises(DataError, match="Z"):
        units.encode("a z")


@pytest.mark.parametrize(("line", "message"), [("A QQ1", "line 2: unknown phone 'QQ1'"), ("A", "line 2: no phones for 'A'")])
def test_a_bad_lexicon_line_is_named(tmp_path, line, message):
    (tmp_path / "bad.txt").write_text(f"B B IY1\n{line}\n")
    with pytest.raises(DataError, match=rf"bad\.txt, {message}"):
        PhoneUnits([tmp_path / "bad.txt"])
    with pytest.raises(DataError, match="no such lexicon"):
        PhoneUnits([tmp_path / "none.txt"])


def test_the_slot_vocabulary_numbers_begin_and_end_markers_after_the_characters():
    units = SlotUnits(["artist", "genre"])
    assert units.symbols[:5] == ("<pad>", "<eos>", "<unk>", " ", "A") and units.symbols[30] == "'"
    assert units.symbols[31:] == ("B-artist", "E-artist", "B-genre", "E-genre")
    assert len(SlotUnits(f"slot{index}" for index in range(39))) == 109


def marked(text, filtered=False):
    """Symbols, spaces as `_`, of words such as `play jazz/genre`."""
    units = SlotUnits(["artist", "genre"])
    words, slots = zip(*((word, slot or "O") for word, _, slot in (token.partition("/") for token in text.split(" "))), strict=True)
    return " ".join(units.symbols[index].replace(" ", "_") for index in units.encode(words, slots, filtered))


def test_values_stand_between_their_markers():
    assert marked("Go b/genre") == "G O _ B-genre B E-genre <eos>"
    assert marked("a/artist b/artist to c/genre") == "B-artist A _ B E-artist _ T O _ B-genre C E-genre <eos>"
    assert marked("a/artist b/genre") == "B-artist A E-artist _ B-genre B E-genre <eos>"
    assert marked("r & b5") == "R _ A N D _ B <unk> <eos>"


@pytest.mark.parametrize(
    ("text", "superb", "filtered"),
    [
        ("go b/genre .", "G O _ B-genre B E-genre _", "G O _ B-genre B E-genre <eos>"),  # no <eos>, a space at the end
        ("-/genre a/genre ?/genre go", "A _ G O <eos>", "B-genre A E-genre _ G O <eos>"),  # both markers lost
        ("a/genre , b/genre", "B-genre A E-genre _ B-genre B E-genre <eos>", "B-genre A _ B E-genre <eos>"),
        ("a  b", "A _ B <eos>", "A _ B <eos>"),  # an empty word is no word
        ("?!.", "", ""),
    ],
)
def test_words_of_punctuation_take_their_markers_along_unless_filtered(text, superb, filtered):
    """superb_tasks.md, 6.2, from s3prl's ctc/text.py."""
    assert marked(text) == superb
    assert marked(text, filtered=True) == filtered


def test_marked_text_comes_back_with_a_space_inside_each_marker():
    units = SlotUnits(["artist", "genre"])
    ids = units.encode("play the b's".split(), ["O", "genre", "genre"])
    assert units.decode([0, *ids]) == "PLAY B-genre THE B'S E-genre"
    assert units.decode(units.encode(["9"], ["artist"])) == "B-artist <unk> E-artist"
    assert units.decode([]) == ""


def test_an_unknown_slot_and_a_missing_one_are_named():
    with pytest.raises(DataError, match="unknown slot 'city'; there are artist, genre"):
        marked("paris/city")
    with pytest.raises(DataError, match="2 words but 1 slots"):
        SlotUnits([]).encode(["a", "b"], ["O"])
