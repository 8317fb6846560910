"""The reader of Audio SNIPS: voices of a split, words with their slots, everything that can be missing."""

from __future__ import annotations

import logging

import pytest

from corpus import snips
from corpus.batch import load_batch
from corpus.errors import DataError
from corpus.locate import locate
from tests.corpus.make import write_tone

SLOT_LIST = "O\nartist\ngenre"
SENTENCE = "BOS PLAY SOME JAZZ EOS\tO O O genre PlayMusic"


@pytest.fixture
def root(tmp_path):
    """Two voices in each folder; Amy is no voice of train."""
    root = tmp_path / "SNIPS"
    lines = []
    for split in snips.SPEAKERS:
        for speaker in ("Ivy", "Joey", "Amy"):
            for number in range(2):
                utt_id = f"{speaker}-snips-{split}-{number}"
                write_tone(root / split / f"{utt_id}.wav", 0.2 + 0.1 * number)
                lines.append(f"{utt_id} {SENTENCE}\n")
    (root / snips.TRANSCRIPTS).write_text("".join(lines))
    (root / snips.SLOTS).write_text(SLOT_LIST)
    return root


def test_a_split_has_the_voices_asked_for(root):
    cuts = snips.read(root, "train", ("Ivy", "Joey"))
    assert [cut.id for cut in cuts] == [f"{speaker}-snips-train-{number}" for speaker in ("Ivy", "Joey") for number in range(2)]
    assert [cut.supervisions[0].speaker for cut in cuts] == ["Ivy", "Ivy", "Joey", "Joey"]
    assert [cut.id for cut in snips.read(root, "valid", ("Amy",))] == ["Amy-snips-valid-0", "Amy-snips-valid-1"]


def test_a_cut_carries_words_slots_and_intent(root):
    cut = snips.read(root, "test", ("Joey",))["Joey-snips-test-1"]
    assert cut.num_samples == 4800
    assert cut.supervisions[0].text == "PLAY SOME JAZZ"
    assert cut.supervisions[0].custom == {"slots": "O O genre", "intent": "PlayMusic"}


def test_audio_lies_at_any_depth_and_has_any_rate(root):
    write_tone(root / "train" / "more" / "deep" / "Ivy-snips-train-2.wav", 0.4, rate=22_050, channels=2)
    with open(root / snips.TRANSCRIPTS, "a") as file:
        file.write(f"Ivy-snips-train-2 {SENTENCE}\n")
    assert load_batch(snips.read(root, "train", ("Ivy",))).lengths.tolist() == [3200, 4800, 6400]


def test_superbs_voices_are_sixteen_and_apart():
    """superb_tasks.md, 6.1."""
    assert {split: len(names) for split, names in snips.SPEAKERS.items()} == {"train": 8, "valid": 4, "test": 4}
    assert len({name for names in snips.SPEAKERS.values() for name in names}) == 16


def test_the_folder_is_found_and_slots_come_in_their_order(root):
    assert locate(snips.SOURCE, root.parent) == locate(snips.SOURCE, root) == root
    assert snips.read_slots(root) == ["artist", "genre"]


@pytest.mark.parametrize("content", ["artist\ngenre\n", "O\n", "", "O\nartist\nartist\n"])
def test_a_strange_list_of_slots_is_refused(root, content):
    (root / snips.SLOTS).write_text(content)
    with pytest.raises(DataError, match=r"slots\.txt: a list of slots has 'O' in its first line"):
        snips.read_slots(root)


@pytest.mark.parametrize(
    "line",
    [
        "Ivy-snips-train-0 BOS PLAY JAZZ EOS\tO O PlayMusic",  # a slot too few
        "Ivy-snips-train-0 PLAY JAZZ\tO genre",  # no BOS and EOS
        "Ivy-snips-train-0 BOS EOS\tO PlayMusic",
        "Ivy-snips-train-0",
    ],
)
def test_a_bad_line_is_named(root, line):
    (root / snips.TRANSCRIPTS).write_text(f"\n{line}\n")
    with pytest.raises(DataError, match=r"all\.iob\.snips\.txt, line 2: a line is ID BOS words EOS"):
        snips.read(root, "train", ("Ivy",))


def test_an_id_given_twice_is_named(root):
    with open(root / snips.TRANSCRIPTS, "a") as file:
        file.write(f"Ivy-snips-train-0 {SENTENCE}\n")
    with pytest.raises(DataError, match="line 19: the id Ivy-snips-train-0 stands"):
        snips.read(root, "train", ("Ivy",))


@pytest.mark.parametrize("name", [snips.TRANSCRIPTS, snips.SLOTS])
def test_a_missing_or_binary_text_file_is_named(root, name):
    def read():
        return snips.read_slots(root) if name == snips.SLOTS else snips.read(root, "train", ("Ivy",))

    (root / name).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=rf"{name} is not UTF-8"):
        read()
    (root / name).unlink()
    with pytest.raises(DataError, match=rf"no file .*{name}.*Get it from https"):
        read()


def test_a_missing_folder_voice_or_file_is_named(root):
    with pytest.raises(DataError, match=r"no \.wav of Kendra, Salli under .*train"):
        snips.read(root, "train", ("Ivy", "Kendra", "Salli"))
    (root / "train" / "Joey-snips-train-1.wav").unlink()
    with pytest.raises(DataError, match=r"train is incomplete: no audio of Joey-snips-train-1\.wav"):
        snips.read(root, "train", ("Ivy", "Joey"))
    with pytest.raises(DataError, match="no folder .*SNIPS/dev: Audio SNIPS has train, valid, test"):
        snips.read(root, "dev", ("Ivy",))
    with pytest.raises(DataError, match=r"expected .*SNIPS with at least one of all\.iob\.snips\.txt"):
        locate(snips.SOURCE, root / "train")


@pytest.mark.parametrize("content", [b"", b"no audio at all"])
def test_a_damaged_file_is_named(root, content):
    (root / "train" / "Ivy-snips-train-1.wav").write_bytes(content)
    with pytest.raises(DataError, match=r"Ivy-snips-train-1\.wav is not audio"):
        snips.read(root, "train", ("Ivy",))


def test_audio_without_a_transcript_is_left_out_with_a_warning(root, caplog):
    write_tone(root / "train" / "Ivy-snips-train-99.wav")
    with caplog.at_level(logging.WARNING):
        assert len(snips.read(root, "train", ("Ivy",))) == 2
    assert "1 files without a transcript are left out: Ivy-snips-train-99" in caplog.text
    (root / snips.TRANSCRIPTS).write_text(f"Amy-snips-test-0 {SENTENCE}\n")
    with pytest.raises(DataError, match=r"has no line for any file of .*train, such as Ivy-snips-train-0\.wav"):
        snips.read(root, "train", ("Ivy",))
