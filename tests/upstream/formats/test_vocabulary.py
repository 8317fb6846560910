"""What a CTC head's outputs stand for, as fairseq and as Hugging Face write it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.upstream.formats.published import LETTERS
from upstream.errors import UpstreamError
from upstream.formats.vocabulary import read_dictionary, read_vocabulary, vocabulary_files


def test_dictionary_begins_with_fairseqs_special_symbols(tmp_path: Path) -> None:
    (tmp_path / "dict.ltr.txt").write_text("| 94802\nE 51860\nT 38431\n")
    assert read_dictionary(tmp_path / "dict.ltr.txt") == LETTERS


@pytest.mark.parametrize("text", ["E", "E many", "one two three"])
def test_line_without_a_count_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "dict.ltr.txt").write_text(f"| 3\n{text}\n")
    with pytest.raises(UpstreamError, match=f"expected 'SYMBOL COUNT' on each line, found '{text}'"):
        read_dictionary(tmp_path / "dict.ltr.txt")


def test_missing_dictionary_is_named(tmp_path: Path) -> None:
    with pytest.raises(UpstreamError, match=r"none\.txt: cannot be read"):
        read_dictionary(tmp_path / "none.txt")


def test_vocabulary_goes_there_and_back_with_its_first_two_names_swapped(tmp_path: Path) -> None:
    for name, content in vocabulary_files(LETTERS, 7, 0).items():
        (tmp_path / name).write_bytes(content)
    assert json.loads((tmp_path / "vocab.json").read_text())["<pad>"] == 0
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["pad_token"] == "<pad>"
    assert read_vocabulary(tmp_path) == LETTERS


def test_blank_elsewhere_keeps_its_place_and_name() -> None:
    files = vocabulary_files(["|", "E", "[PAD]"], 3, 2)
    assert json.loads(files["tokenizer_config.json"])["pad_token"] == "[PAD]"
    assert json.loads(files["vocab.json"]) == {"|": 0, "E": 1, "[PAD]": 2}


@pytest.mark.parametrize("content", ['{"eng": {"a": 0}}', '{"a": 0, "b": 2}', "[]"])
def test_vocabulary_of_another_shape_is_left_alone(content: str, tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(content)
    assert read_vocabulary(tmp_path) is None


def test_vocabulary_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text("{")
    with pytest.raises(UpstreamError, match=r"vocab\.json: is not readable JSON"):
        read_vocabulary(tmp_path)
