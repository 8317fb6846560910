"""Arrays by utterance in files: safetensors and HDF5 with many utterances a file, NumPy with one. Written whole or not at all.

Shape letters: L hidden states, F frames, D features, G groups of codes. Hidden states are (L, F, D), means (L, D), codes (1, F, G).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from corpus.files import write_atomically
from engine.errors import CheckpointError


@dataclass(frozen=True)
class Entry:
    """One utterance on disk: a line of `index.jsonl`.

    Attributes:
        path: the audio file, absolute.
        start: seconds from its beginning.
        duration: seconds that were asked for; None to the end.
        shard: the file that holds the array, relative to the folder.
        key: the array's name in it.
        samples: of audio, at 16 kHz.
        frames: of the hidden states or codes; for a mean, those that it is over.
        layers: which hidden state each row is; None for codes.
    """

    utt_id: str
    path: str
    start: float
    duration: float | None
    shard: str
    key: str
    samples: int
    frames: int
    layers: tuple[int, ...] | None


def shard_name(format: str, number: int, key: str) -> str:
    """The file that holds an array, relative to the folder."""
    if format == "npy":
        return f"arrays/{key}.npy"
    return f"shards/{number:05d}{'.h5' if format == 'hdf5' else '.safetensors'}"


def write_shard(folder: Path, arrays: Sequence[tuple[Entry, np.ndarray]], about: Mapping[str, Any]) -> None:
    """Write the arrays of one shard; `about` (plain values) says in each file where they come from.

    Raises:
        DataError: a file cannot be written, for want of space say.
    """
    suffix = Path(arrays[0][0].shard).suffix
    if suffix == ".npy":
        for entry, array in arrays:
            write_atomically(folder / entry.shard, lambda path, array=array: np.save(path, array))  # type: ignore[misc]
        return
    write = _write_hdf5 if suffix == ".h5" else _write_safetensors
    write_atomically(folder / arrays[0][0].shard, lambda path: write(path, arrays, about))


def read_array(folder: Path, entry: Entry) -> np.ndarray:
    """One utterance's array.

    Raises:
        CheckpointError: its file is gone or damaged.
    """
    path = folder / entry.shard
    readers = {".npy": _read_npy, ".h5": _read_hdf5, ".safetensors": _read_safetensors}
    try:
        return readers[path.suffix](path, entry.key)
    except Exception as error:  # noqa: BLE001 - three libraries, three kinds
        raise CheckpointError(f"{path}: {entry.utt_id} cannot be read ({error}); remove the file and extract again") from error


def _write_safetensors(path: Path, arrays: Sequence[tuple[Entry, np.ndarray]], about: Mapping[str, Any]) -> None:
    from safetensors.numpy import save_file

    # one value: several would stand in an order that changes from process to process
    save_file({entry.key: array for entry, array in arrays}, path, {"weir": json.dumps(about)})


def _read_safetensors(path: Path, key: str) -> np.ndarray:
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        return file.get_tensor(key)


def _write_hdf5(path: Path, arrays: Sequence[tuple[Entry, np.ndarray]], about: Mapping[str, Any]) -> None:
    """One data set an utterance, in groups where its name has slashes; what is known of it stands in attributes."""
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["weir"] = json.dumps(about)
        for entry, array in arrays:
            dataset = file.create_dataset(entry.key, data=array)
            for name, value in asdict(entry).items():
                if value is not None and name not in ("shard", "key"):
                    dataset.attrs[name] = value


def _read_hdf5(path: Path, key: str) -> np.ndarray:
    import h5py

    with h5py.File(path, "r") as file:
        return file[key][()]


def _read_npy(path: Path, key: str) -> np.ndarray:
    return np.load(path, allow_pickle=False)
