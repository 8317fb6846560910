"""Finding data sets and lexicons where users keep them."""

from __future__ import annotations

import pytest

from corpus import librispeech
from corpus.errors import DataError
from corpus.locate import lexicons, locate


def test_a_data_set_is_found_by_its_name_or_given_itself(tmp_path):
    (tmp_path / "LibriSpeech" / "dev-clean").mkdir(parents=True)
    assert locate(librispeech.SOURCE, tmp_path) == tmp_path / "LibriSpeech"
    assert locate(librispeech.SOURCE, tmp_path / "LibriSpeech") == tmp_path / "LibriSpeech"


def test_what_is_missing_is_named_with_where_to_get_it(tmp_path):
    with pytest.raises(DataError, match="no such folder: .*nowhere"):
        locate(librispeech.SOURCE, tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no LibriSpeech in .*train-clean-100.*https://www\.openslr\.org/12"):
        locate(librispeech.SOURCE, tmp_path)


def test_lexicons_are_found_in_both_places_in_superbs_order(tmp_path):
    (tmp_path / "lexicon").mkdir()
    (tmp_path / "LibriSpeech").mkdir()
    names = ["librispeech-lexicon.txt", "lexicon/librispeech-lexicon-allothers-g2p.txt", "lexicon/librispeech-lexicon-200k-g2p.txt"]
    for name in names:
        (tmp_path / name).touch()
    expected = [tmp_path / name for name in reversed(names)]
    assert lexicons(tmp_path) == expected
    assert lexicons(tmp_path / "LibriSpeech") == expected


def test_no_lexicon_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"librispeech-lexicon\.txt.*openslr"):
        lexicons(tmp_path)
