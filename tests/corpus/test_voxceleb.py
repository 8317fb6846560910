"""The VoxCeleb1 reader: both layouts, both lists, every error; headers read once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import soundfile

from corpus.batch import load_batch
from corpus.errors import DataError
from corpus.locate import locate
from corpus.voxceleb import SOURCE, Trial, VoxCeleb1, drawn_trials, file_name, utterance_id
from tests.corpus.make import write_tone

DEV = [f"id1000{speaker}/{video}/0000{number}.wav" for speaker in (1, 2) for video in ("a-b_c", "-d") for number in (1, 2)]
TEST = [f"id1027{speaker}/x/0000{number}.wav" for speaker in (0, 1) for number in (1, 2)]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WEIR_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "VoxCeleb1"
    for folder, names in (("dev/wav", DEV), ("test/wav", TEST)):
        for index, name in enumerate(names):
            write_tone(root / folder / name, 0.1 + 0.01 * index)
    write(root / "iden_split.txt", [f"{3 if name in TEST else 1 + index % 2} {name}" for index, name in enumerate(DEV + TEST)])
    write(root / "voxceleb1_test_v2.txt", [f"1 {TEST[0]} {TEST[1]}", f"0 {TEST[0]} {TEST[2]}"])
    return root


def write(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


def flat(root: Path) -> None:
    """All speakers in `wav/`."""
    (root / "dev/wav").rename(root / "wav")
    for speaker in (root / "test/wav").iterdir():
        speaker.rename(root / "wav" / speaker.name)
    (root / "test/wav").rmdir()


def test_cuts_carry_ids_speakers_and_lengths(root: Path) -> None:
    cuts = VoxCeleb1(root).identification("train")
    assert [cut.id for cut in cuts] == sorted(name[:-4].replace("/", "-") for name in DEV[::2])
    cut = cuts["id10002--d-00001"]
    assert (cut.supervisions[0].speaker, cut.num_samples) == ("id10002", 2560)
    assert load_batch([cut]).wavs.shape == (1, 2560)


def test_splits_are_those_of_the_list(root: Path) -> None:
    data = VoxCeleb1(root)
    assert [len(data.identification(split)) for split in ("train", "dev", "test")] == [4, 4, 4]
    (root / "iden_split.txt").rename(root / "veri_test_class.txt")  # s3prl's name
    assert len(VoxCeleb1(root).identification("dev")) == 4
    (root / "veri_test_class.txt").rename(root / "own.txt")
    assert len(VoxCeleb1(root).identification("dev", Path("own.txt"))) == 4


def test_names_and_ids_are_two_forms_of_one_thing() -> None:
    for name in [*DEV, *TEST]:
        assert file_name(utterance_id(name)) == name


def test_verification_trains_on_everything_in_dev(root: Path) -> None:
    assert [cut.id for cut in VoxCeleb1(root).training()] == sorted(map(utterance_id, DEV))


def test_trials_keep_the_order_of_their_list(root: Path) -> None:
    data = VoxCeleb1(root)
    first, second, third = (utterance_id(TEST[index]) for index in (0, 1, 2))
    assert data.trials() == [Trial(first, second, True), Trial(first, third, False)]
    assert data.trial_speakers() == {"id10270", "id10271"}
    assert [cut.id for cut in data.utterances({first, third})] == [first, third]


def test_the_first_of_the_published_lists_counts(root: Path) -> None:
    write(root / "veri_test.txt", [f"0 {TEST[1]} {TEST[2]}", f"1 {TEST[2]} {TEST[3]}"])
    assert VoxCeleb1(root).trials()[0].same
    (root / "voxceleb1_test_v2.txt").unlink()
    assert not VoxCeleb1(root).trials()[0].same
    write(root / "own.txt", [f"1 {TEST[3]} {TEST[2]}", f"0 {TEST[1]} {TEST[2]}"])
    assert VoxCeleb1(root).trials(Path("own.txt"))[0].first == utterance_id(TEST[3])


def test_a_flat_folder_works_with_the_lists(root: Path) -> None:
    flat(root)
    data = VoxCeleb1(locate(SOURCE, root.parent))
    assert len(data.identification("test")) == 4 and len(data.trials()) == 2
    assert [cut.id for cut in data.training()] == sorted(map(utterance_id, DEV))  # without the speakers of the trials
    (root / "voxceleb1_test_v2.txt").unlink()
    with pytest.raises(DataError, match=r"voxceleb1_test_v2\.txt or .*veri_test2\.txt or .*veri_test\.txt"):
        VoxCeleb1(root).training()


def test_a_file_in_two_folders_is_one_utterance(root: Path) -> None:
    """Some link the whole tree into both."""
    for name in DEV:
        write_tone(root / "test/wav" / name)
    assert len(VoxCeleb1(root).identification("train")) == 4
    assert {cut.num_samples for cut in VoxCeleb1(root).training()} != {8000}  # those of dev/wav


def test_headers_are_read_once_and_again_where_a_file_changed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    VoxCeleb1(root).training()
    read: list[Path] = []
    info = soundfile.info
    monkeypatch.setattr(soundfile, "info", lambda path: read.append(path) or info(path))
    assert len(VoxCeleb1(root).training()) == 8 and read == []
    changed = write_tone(root / "dev/wav" / DEV[0], 0.5)
    assert VoxCeleb1(root).training()[utterance_id(DEV[0])].num_samples == 8000
    assert read == [changed]
    VoxCeleb1(root).identification("test")
    assert len(read) == 5  # the cache holds what training and identification share


def test_what_is_no_utterance_is_left_out_and_said(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_tone(root / "dev/wav/A.J._Buckley/x/00001.wav")
    write_tone(root / "dev/wav/.hidden/x/00001.wav")
    assert len(VoxCeleb1(root).training()) == 8
    assert "1 files" in caplog.text and "dev/wav/A.J._Buckley/x/00001.wav" in caplog.text


@pytest.mark.parametrize("name, read", [("iden_split.txt", "identification"), ("voxceleb1_test_v2.txt", "trials")])
def test_a_listed_file_that_is_missing_is_named_with_its_list(root: Path, name: str, read: str) -> None:
    missing = TEST[0] if read == "trials" else DEV[0]
    for folder in ("dev", "test"):
        (root / folder / "wav" / missing).unlink(missing_ok=True)
    data = VoxCeleb1(root)
    with pytest.raises(DataError, match=rf"{name} names {missing}, not found in dev/wav, test/wav, wav"):
        data.trials() if read == "trials" else data.identification("train")


@pytest.mark.parametrize("line", ["4 id10001/x/00001.wav", "1 id10001/00001.wav", "1 A.J._Buckley/x/00001.wav", "1", "1 a b c"])
def test_a_line_of_another_form_is_named(root: Path, line: str) -> None:
    for name in ("iden_split.txt", "voxceleb1_test_v2.txt"):
        path = root / name
        path.write_text(f"{path.read_text()}\n{line}\n")
    with pytest.raises(DataError, match=r"iden_split\.txt, line 14: "):
        VoxCeleb1(root).identification("train")
    with pytest.raises(DataError, match=r"voxceleb1_test_v2\.txt, line 4: "):
        VoxCeleb1(root).trials()


def test_lists_that_cannot_be_used_are_named(root: Path) -> None:
    write(root / "iden_split.txt", [f"1 {DEV[0]}", f"1 {DEV[0]}"])
    with pytest.raises(DataError, match=rf"iden_split\.txt lists {DEV[0]} twice"):
        VoxCeleb1(root).identification("train")
    with pytest.raises(DataError, match="the split test is empty"):
        VoxCeleb1(root).identification("test")
    (root / "iden_split.txt").unlink()
    with pytest.raises(DataError, match=r"no .*iden_split\.txt or .*veri_test_class\.txt"):
        VoxCeleb1(root).identification("train")
    write(root / "voxceleb1_test_v2.txt", [f"1 {TEST[0]} {TEST[1]}"])
    with pytest.raises(DataError, match="trials of both kinds"):
        VoxCeleb1(root).trials()


def test_audio_that_cannot_be_used_is_named(root: Path) -> None:
    (root / "dev/wav" / DEV[0]).write_text("no audio")
    with pytest.raises(DataError, match=rf"{DEV[0]}: not a WAV file"):
        VoxCeleb1(root).training()
    write_tone(root / "dev/wav" / DEV[0], 0.0)
    with pytest.raises(DataError, match=rf"{DEV[0]}: no samples"):
        VoxCeleb1(root).training()


def test_folders_without_audio_are_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no VoxCeleb1 in .*lists"):
        (tmp_path / "lists").mkdir()
        locate(SOURCE, tmp_path / "lists")
    (tmp_path / "empty/dev/wav").mkdir(parents=True)
    with pytest.raises(DataError, match=r"no idNNNNN/VIDEO/NNNNN\.wav in dev/wav, test/wav, wav of .*empty"):
        VoxCeleb1(tmp_path / "empty").training()
    (root / "dev").rename(root / "elsewhere")
    with pytest.raises(DataError, match="no training speakers"):
        VoxCeleb1(root).training()


def test_drawn_trials_are_balanced_distinct_and_repeatable() -> None:
    utt_ids = [f"id1000{speaker}-v{video}-0000{number}" for speaker in range(4) for video in range(3) for number in range(2)]
    trials = drawn_trials(reversed(utt_ids), 60, "key")
    assert trials == drawn_trials(utt_ids, 60, "key") != drawn_trials(utt_ids, 60, "other key")
    assert len(set(trials)) == len(trials) <= 60 and sum(trial.same for trial in trials) == len(trials) / 2 > 10
    for trial in trials:
        first, second = (side.split("-") for side in (trial.first, trial.second))
        assert (first[0] == second[0]) == trial.same and first != second
        assert not trial.same or first[1] != second[1]  # a speaker with several videos is met in two of them


def test_drawn_trials_of_little() -> None:
    assert (
        drawn_trials([], 10, "key")
        == drawn_trials(["id1-v-1", "id1-v-2"], 10, "key")
        == drawn_trials(["id1-v-1", "id2-v-1"], 10, "key")
        == []
    )
    assert len(drawn_trials(["id1-v-1", "id1-v-2", "id2-v-1"], 10, "key")) == 2  # one video: two utterances of it
