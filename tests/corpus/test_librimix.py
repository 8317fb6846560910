"""The LibriMix reader: mixtures with their turns, paths wherever they start, chunks, incomplete lists named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from corpus import librimix, locate
from corpus.batch import read_cut
from corpus.errors import DataError
from tests.corpus.make import write_tone

AUDIO = "Libri2Mix/wav16k/max/dev/mix_both"
RTTM = (
    "SPEAKER\tmix-b\t1\t0.25\t0.5\t<NA>\t<NA>\t26\t<NA>\n"  # with tabs, as SUPERB's preparation writes it
    "SPEAKER mix-b 1 0.0 0.4 <NA> <NA> 19 <NA> <NA>\n"
    "SPEAKER mix-a 1 0 0.3 <NA> <NA> 19 <NA>\n"
)


def make(data: Path, path: str = "../../" + AUDIO) -> Path:
    """The development split of two mixtures; `wav.scp` names them below `path`."""
    split = data / "LibriMix-SD" / "dev"
    split.mkdir(parents=True)
    write_tone(data / AUDIO / "mix-a.wav", 0.5)
    write_tone(data / AUDIO / "mix-b.wav", 1.0, rate=8_000, channels=2)
    (split / "wav.scp").write_text("".join(f"{name} {path}/{name}.wav\n" for name in ("mix-b", "mix-a")))
    (split / "rttm").write_text(RTTM)
    return data / "LibriMix-SD"


def test_a_mixture_carries_the_turns_of_its_speakers(tmp_path: Path) -> None:
    first, second = librimix.read(make(tmp_path), "dev")
    assert (first.id, second.id, second.duration) == ("mix-a", "mix-b", 1.0)
    assert [(turn.speaker, turn.start, turn.end) for turn in second.supervisions] == [("19", 0.0, 0.4), ("26", 0.25, 0.75)]
    assert len(read_cut(second)) == 16_000  # from two channels at 8 kHz


@pytest.mark.parametrize("path", ["../../" + AUDIO, "../" + AUDIO, AUDIO, "/elsewhere/before/" + AUDIO, "storage/" + AUDIO])
def test_paths_start_at_the_split_above_it_or_beside_and_moved_mixtures_are_found(tmp_path: Path, path: str) -> None:
    found = [Path(cut.recording.sources[0].source) for cut in librimix.read(make(tmp_path, path), "dev")]
    assert [source.resolve() for source in found] == [(tmp_path / AUDIO / name).resolve() for name in ("mix-a.wav", "mix-b.wav")]


def test_absolute_paths_stand_as_they_are(tmp_path: Path) -> None:
    root = make(tmp_path / "lists", str(tmp_path / "audio"))
    for name in ("mix-a", "mix-b"):
        write_tone(tmp_path / "audio" / f"{name}.wav", 0.6)
    assert [cut.duration for cut in librimix.read(root, "dev")] == [0.6, 0.6]


def test_the_folder_is_found_by_its_name_or_as_itself(tmp_path: Path) -> None:
    root = make(tmp_path)
    assert locate.locate(librimix.SOURCE, tmp_path) == locate.locate(librimix.SOURCE, root) == root


def test_chunks_follow_each_other_and_keep_the_remainder(tmp_path: Path) -> None:
    chunks = list(librimix.chunks(librimix.read(make(tmp_path), "dev"), 0.4))
    assert [(chunk.id, chunk.start, chunk.duration) for chunk in chunks] == [
        ("mix-a-0000", 0.0, 0.4), ("mix-a-0001", 0.4, 0.1),
        ("mix-b-0000", 0.0, 0.4), ("mix-b-0001", 0.4, 0.4), ("mix-b-0002", 0.8, 0.2),
    ]  # fmt: skip
    assert [chunk.custom["mixture"] for chunk in chunks] == ["mix-a"] * 2 + ["mix-b"] * 3
    assert [(turn.speaker, turn.start, turn.duration) for turn in chunks[3].supervisions] == [("19", -0.4, 0.4), ("26", -0.15, 0.5)]
    assert [len(read_cut(chunk)) for chunk in chunks] == [6400, 1600, 6400, 6400, 3200]


def test_a_remainder_too_short_to_encode_stays_with_the_chunk_before_it(tmp_path: Path) -> None:
    chunks = librimix.chunks(librimix.read(make(tmp_path), "dev"), 0.45)
    assert [chunk.duration for chunk in chunks] == [0.5, 0.45, 0.45, 0.1]
    assert [chunk.duration for chunk in librimix.chunks(librimix.read(tmp_path / "LibriMix-SD", "dev"), 0.5)] == [0.5, 0.5, 0.5]


def write(name: str, content: str) -> Callable[[Path], object]:
    return lambda root: (root / "dev" / name).write_text(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "dev" / "rttm").unlink(), r"no .*dev/rttm: each split .* has wav.scp and rttm"),
        (lambda root: (root / "dev" / "wav.scp").unlink(), r"no .*dev/wav.scp"),
        (write("wav.scp", "\n"), r"wav.scp lists no mixture"),
        (write("wav.scp", "mix-a\n"), r"wav.scp, line 1: 'mix-a' is not a mixture and the path"),
        (write("wav.scp", "mix-a sox a.wav -t wav - |\n"), r"line 1: .*commands are not run"),
        (write("wav.scp", "mix-a a.wav\nmix-a b.wav\n"), r"line 2: mix-a stands there twice"),
        (write("wav.scp", "mix-a gone.wav\nmix-b gone.wav\n"), r"no audio file gone.wav \(.*wav.scp\): relative paths start at"),
        (write("rttm", RTTM.replace("0.25", "soon")), r"rttm, line 1: .*is not of the form 'SPEAKER MIXTURE 1 START DURATION"),
        (write("rttm", "SPEAKER mix-a 1 0.5\n"), r"rttm, line 1: 'SPEAKER mix-a 1 0.5' is not of the form"),
        (write("rttm", RTTM.replace("mix-a", "mix-c")), r"without a turn in rttm: mix-a; .*wav.scp does not list: mix-c"),
        (lambda root: (root / "dev" / "rttm").write_bytes(b"\xff\xfe"), r"rttm is not UTF-8 text"),
        (lambda root: (root.parent / AUDIO / "mix-a.wav").write_bytes(b"no audio"), r"mix-a.wav is not audio, or damaged"),
        (lambda root: write_tone(root.parent / AUDIO / "mix-a.wav", 0.0), r"mix-a.wav has no samples"),
    ],
)
def test_what_is_missing_or_broken_is_named(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    root = make(tmp_path)
    damage(root)
    with pytest.raises(DataError, match=message):
        librimix.read(root, "dev")


def test_unknown_splits_and_missing_data_are_named(tmp_path: Path) -> None:
    root = make(tmp_path)
    with pytest.raises(DataError, match="no split 'eval'; it has train, dev, test"):
        librimix.read(root, "eval")
    with pytest.raises(DataError, match=r"no .*LibriMix-SD/test/wav.scp"):
        librimix.read(root, "test")
    with pytest.raises(DataError, match="no LibriMix-SD in"):
        locate.locate(librimix.SOURCE, tmp_path / "Libri2Mix")
