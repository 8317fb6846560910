"""The fingerprint follows what the cuts are, and nothing else."""

from __future__ import annotations

import shutil

from lhotse.utils import fastcopy

from corpus.fingerprint import fingerprint
from tests.corpus.make import cut, write_tone


def test_neither_folder_nor_order_matters(tmp_path):
    first = write_tone(tmp_path / "one/a.wav", 0.3)
    second = tmp_path / "two/b.wav"
    second.parent.mkdir()
    shutil.copy(first, second)
    one = [cut("a", 0.3, first), cut("b", 0.2)]
    two = [cut("b", 0.2), cut("a", 0.3, second)]
    assert fingerprint(one) == fingerprint(two)
    assert len(fingerprint(one)) == 64


def test_every_change_of_content_matters(tmp_path):
    path = write_tone(tmp_path / "a.wav", 0.3)
    base = cut("a", 0.3, path)
    relabelled = cut("a", 0.3, path)
    relabelled.supervisions[0].custom = {"intent": "x"}
    variants = [
        [base], [cut("b", 0.3, path)], [cut("a", 0.2, path)], [cut("a", 0.3, path, text="B")], [relabelled],
        [fastcopy(base, start=0.1)], [base, cut("b", 0.3, path)], [cut("a", 0.3)], [],
    ]  # fmt: skip
    prints = [fingerprint(cuts) for cuts in variants]
    with open(path, "ab") as file:
        file.write(b"\0\0")
    prints.append(fingerprint([base]))
    assert len(set(prints)) == len(prints)


def test_padded_cuts_have_one(tmp_path):
    padded = cut("a", 0.3, write_tone(tmp_path / "a.wav", 0.3)).pad(duration=0.5)
    assert fingerprint([padded]) == fingerprint([padded])
