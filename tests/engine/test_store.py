"""The store: what was written is read bit for bit, and nothing half-written or damaged is ever taken for a store."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import CheckpointError
from engine.store import layout, writing
from engine.store.reading import Store
from engine.store.reduction import Reduction, pooled
from upstream.base import Representation

SIZES = {"a": 5, "b": 3, "c": 1, "d": 7, "é e": 2}
BATCHES = [["a", "b"], ["c", "d"], ["é e"]]


def states(utt_id: str, scale: float = 1.0) -> torch.Tensor:
    """(3, F, 4) of an utterance."""
    numbers = torch.Generator().manual_seed(ord(utt_id[0]))
    return scale * torch.randn(3, SIZES[utt_id], 4, generator=numbers)


def encode(batches: Sequence[list[str]]) -> Iterator[writing.Encoded]:
    """Batches of three states of four features."""
    for ids in batches:
        yield ids, [states(utt_id) for utt_id in ids], [160 * SIZES[utt_id] for utt_id in ids]


def content(reduction: Reduction = Reduction()) -> writing.Content[list[str]]:  # noqa: B008 - a constant
    """Three states of four features in two shards."""
    return writing.Content(
        3, 4, reduction, [BATCHES[:2], BATCHES[2:]], len, {"what": "letters", "utterances": 5, "reduction": str(reduction)}
    )


def write(folder: Path, reduction: Reduction = Reduction(), encode: Any = encode) -> Store:  # noqa: B008
    writing.fill(folder, content(reduction), encode)
    return Store(folder)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_was_written_is_read_bit_for_bit_in_any_order(tmp_path: Path) -> None:
    for found in (write(tmp_path / "s"), Store(tmp_path / "s")):
        assert len(found) == 5 and "a" in found and "x" not in found
        for ids in (["a"], ["d", "a"], ["é e", "b", "d", "a", "c"]):
            representation, samples = found.read(ids)
            assert representation.lengths.tolist() == [SIZES[utt_id] for utt_id in ids]
            assert samples.tolist() == [160 * SIZES[utt_id] for utt_id in ids]
            assert representation.hidden_states.shape == (3, len(ids), max(SIZES[utt_id] for utt_id in ids), 4)
            for row, utt_id in enumerate(ids):
                assert torch.equal(representation.hidden_states[:, row, : SIZES[utt_id]], states(utt_id))
                assert not representation.hidden_states[:, row, SIZES[utt_id] :].any()


def test_means_are_read_as_they_were_written(tmp_path: Path) -> None:
    def means(batches: Sequence[list[str]]) -> Iterator[writing.Encoded]:
        for ids, found, samples in encode(batches):
            frames = [each.shape[1] for each in found]
            yield ids, pooled(None).split(torch.cat(list(found), 1), frames, samples), samples

    found = write(tmp_path / "s", pooled(None), means)
    representation, samples = found.read(["d", "é e", "a"])
    assert representation.hidden_states.shape == (3, 3, 1, 4) and representation.lengths.tolist() == [1, 1, 1]
    assert samples.tolist() == [1120, 320, 800]
    for row, utt_id in enumerate(["d", "é e", "a"]):
        torch.testing.assert_close(representation.hidden_states[:, row, 0], states(utt_id).mean(1))


def test_means_are_over_the_frames_that_the_benchmark_counts() -> None:
    batch, samples = torch.randn(2, 2, 10, 3), torch.tensor([1600, 790])
    representation = Representation(batch, torch.tensor([10, 6]))
    found = pooled(160)(representation, samples).hidden_states
    torch.testing.assert_close(found[:, 0, 0], batch[:, 0].mean(1))
    torch.testing.assert_close(found[:, 1, 0], batch[:, 1, :5].mean(1))  # round(790 / 160) of the 6 that there are
    packed = torch.cat([batch[:, 0], batch[:, 1, :6]], 1)
    torch.testing.assert_close(torch.stack(pooled(160).split(packed, [10, 6], [1600, 790]), 1), found)


@pytest.mark.parametrize("reduction", [Reduction(dtype="float16"), Reduction(dtype="bfloat16")])
def test_half_precision_is_read_as_it_is_stored(tmp_path: Path, reduction: Reduction) -> None:
    found = write(tmp_path / "s", reduction)
    assert layout.shard_path(tmp_path / "s", 0).stat().st_size == 2 * 3 * 4 * 16
    representation, _ = found.read(["a"])
    expected = states("a").to(torch.float16 if reduction.dtype == "float16" else torch.bfloat16)
    assert representation.hidden_states.dtype == expected.dtype
    assert torch.equal(representation.hidden_states[:, 0], expected)


def test_values_beyond_the_range_of_float16_are_stored_in_bfloat16_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def large(batches: Sequence[list[str]]) -> Iterator[writing.Encoded]:
        for ids, found, samples in encode(batches):
            yield ids, [each * (1e6 if "c" in ids else 1) for each in found], samples

    with caplog.at_level("INFO", "weir"):
        found = write(tmp_path / "s", Reduction(dtype="float16"), large)
    assert found.dtypes == ["bfloat16", "float16"] and "1 of 2 shards" in caplog.text
    assert torch.equal(found.read(["d"])[0].hidden_states[:, 0], (1e6 * states("d")).bfloat16())
    assert torch.equal(found.read(["é e"])[0].hidden_states[:, 0], states("é e").half())
    both = found.read(["é e", "d"])[0].hidden_states
    assert both.dtype == torch.float32 and torch.equal(both[:, 1], (1e6 * states("d")).bfloat16().float())


def test_reading_gives_a_copy_that_may_be_changed(tmp_path: Path) -> None:
    found, before = write(tmp_path / "s"), files(tmp_path / "s")
    found.read(["a"])[0].hidden_states.zero_()
    assert torch.equal(found.read(["a"])[0].hidden_states[:, 0], states("a"))
    assert files(tmp_path / "s") == before


@pytest.mark.parametrize("name", ["00000.bin", "00001.bin", "index.bin", "manifest.json"])
@pytest.mark.parametrize("change", [-4, 4, None])
def test_files_of_the_wrong_size_are_refused_with_the_remedy(tmp_path: Path, name: str, change: int | None) -> None:
    write(tmp_path / "s")
    path = tmp_path / "s" / name
    if change is not None:
        os.truncate(path, path.stat().st_size + change)
    elif name == "manifest.json":
        path.write_text('{"format": 1}')
    else:
        path.unlink()
    with pytest.raises(CheckpointError, match="is damaged .*--store-verify"):
        Store(tmp_path / "s")


def test_changed_index_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "s")
    path = tmp_path / "s" / "index.bin"
    found = bytearray(path.read_bytes())
    found[0] ^= 1
    path.write_bytes(found)
    with pytest.raises(CheckpointError, match="index.bin is not what was written"):
        Store(tmp_path / "s")


class Full:
    """A file on a full disk: it takes so many bytes."""

    def __init__(self, file: Any, room: int) -> None:
        self.file, self.room = file, room

    def __enter__(self) -> Full:
        return self

    def __exit__(self, *details: Any) -> None:
        self.file.close()

    def write(self, data: Any) -> int:
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def test_full_disk_is_one_error_keeps_finished_shards_and_the_rerun_finishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "whole")
    real = open

    def opened(path: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        file = real(path, mode, *arguments, **options)
        return Full(file, 50) if str(path).endswith("00001.bin") else file

    monkeypatch.setattr("builtins.open", opened)
    with pytest.raises(CheckpointError, match="No space left on device.*finished shards stay.*--store off"):
        write(tmp_path / "s")
    monkeypatch.undo()
    assert set(files(tmp_path / "s")) == {"about.json", "00000.bin", "00000.json"}
    with pytest.raises(CheckpointError):
        Store(tmp_path / "s")
    asked = []

    def counting(batches: Sequence[list[str]]) -> Iterator[writing.Encoded]:
        asked.append(batches)
        yield from encode(batches)

    write(tmp_path / "s", encode=counting)
    assert asked == [BATCHES[2:]]
    assert files(tmp_path / "s") == files(tmp_path / "whole")


@pytest.mark.parametrize("where", ["fsync", "mkdir", "replace"])
def test_what_the_disk_refuses_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*((Path, "mkdir") if where == "mkdir" else (os, where)), full)  # type: ignore[call-overload]
    with pytest.raises((CheckpointError, OSError), match="No space left on device"):
        write(tmp_path / "s")
    monkeypatch.undo()
    assert not (tmp_path / "s" / "manifest.json").exists()
    write(tmp_path / "s")


def test_error_while_encoding_leaves_no_store_and_keeps_its_own_words(tmp_path: Path) -> None:
    def broken(batches: Sequence[list[str]]) -> Iterator[writing.Encoded]:
        yield next(encode(batches))
        raise OSError(errno.EIO, "the microphone")

    with pytest.raises(OSError, match="the microphone"):
        write(tmp_path / "s", encode=broken)
    assert set(files(tmp_path / "s")) == {"about.json"}


def write_until(folder: Path, moment: str) -> None:
    """Write a store and die by kill -9: while a shard is encoded, or just before or after the rename that makes a file."""

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def encode_until(batches: Sequence[list[str]]) -> Iterator[writing.Encoded]:
        if moment == "encoding" and batches == BATCHES[2:]:
            die()
        yield from encode(batches)

    real = os.replace

    def replace(source: Any, target: Any) -> None:
        if str(target).endswith(moment):
            die()
        real(source, target)
        if str(target).endswith(moment.removeprefix("after ")):
            die()

    os.replace = replace
    write(folder, encode=encode_until)


@pytest.mark.parametrize(
    "moment", ["encoding", "00000.bin", "after 00000.bin", "00001.json", "after 00001.json", "index.bin", "manifest.json"]
)
def test_kill_at_any_moment_leaves_what_a_rerun_finishes_with_the_same_bytes(tmp_path: Path, moment: str) -> None:
    child = os.fork()
    if not child:
        try:
            write_until(tmp_path / "s", moment)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    with pytest.raises(CheckpointError):
        Store(tmp_path / "s")
    write(tmp_path / "s")
    write(tmp_path / "whole")
    assert files(tmp_path / "s") == files(tmp_path / "whole")


def test_store_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    write(tmp_path / "s")
    write(tmp_path / "s", encode=lambda batches: pytest.fail("encoded again"))


def test_parts_that_another_version_divided_otherwise_are_not_mixed_in(tmp_path: Path) -> None:
    write(tmp_path / "s")
    (tmp_path / "s" / "manifest.json").unlink()
    other = writing.Content(3, 4, Reduction(), [BATCHES[:1], BATCHES[1:]], len, content().about)
    writing.fill(tmp_path / "s", other, encode)
    assert torch.equal(Store(tmp_path / "s").read(["d"])[0].hidden_states[:, 0], states("d"))


def test_two_runs_that_write_one_store_wait_for_each_other(tmp_path: Path) -> None:
    asked, inside = [], threading.Event()

    def slow(batches: Sequence[list[str]]) -> Iterator[writing.Encoded]:
        asked.append(threading.get_ident())
        inside.set()
        yield from encode(batches)

    readers = []
    first = threading.Thread(target=lambda: readers.append(write(tmp_path / "s", encode=slow)))
    first.start()
    inside.wait(10)
    second = write(tmp_path / "s", encode=slow)  # and does not wait until the first one has stopped reading
    first.join()
    assert len(set(asked)) == 1 and len(asked) == 2 and len(second) == len(readers[0]) == 5


def test_shards_are_divided_alike_by_size_and_by_time() -> None:
    def divided(count: int, seconds: float, size: int) -> list[int]:
        return [len(shard) for shard in writing.divide(list(range(count)), lambda _: seconds, lambda _: size)]

    assert divided(5, 60, 1) == [5]
    assert divided(10, 60, 1) == [5, 5]  # no more than LEAST_SECONDS while the whole is short
    assert set(divided(3200, 60, 1)[:-1]) == {60}  # an hour
    assert divided(4, 60, 200 << 20) == [2, 2]
    assert divided(3, 60, 1 << 30) == [1, 1, 1]


def test_place_depends_on_everything_that_decides_the_values() -> None:
    reductions = [Reduction(), Reduction(dtype="float16"), pooled(None), pooled(160)]
    places = {layout.location("u", "c", "p", each.key) for each in reductions}
    places |= {layout.location(*key, Reduction().key) for key in (("v", "c", "p"), ("u", "d", "p"), ("u", "c", "q"))}
    assert len(places) == 7 and layout.location("u", "c", "p", Reduction().key) in places


def test_index_of_many_utterances_is_small_and_whole(tmp_path: Path) -> None:
    """100,000 utterances; how long opening takes is for benchmarks."""
    part = layout.Part(layout.Shard(0, "", "float32"), [(f"speaker-{number:06d}", 1, 16_000) for number in range(100_000)])
    layout.shard_path(tmp_path, 0).touch()
    layout.write_index(tmp_path, [part], 13, 768, True)
    found = Store(tmp_path)
    assert len(found) == 100_000 and "speaker-099999" in found
    assert (tmp_path / "index.bin").stat().st_size < 5_000_000
    assert json.loads((tmp_path / "manifest.json").read_text())["utterances"] == 100_000
