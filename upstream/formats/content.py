"""A checkpoint of any family as conversion sees it, and what can be done with those of one family."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from upstream import native
from upstream.formats.place import replace_folder

Tensors = Mapping[str, Tensor]
Notes = tuple[str, ...]


@dataclass(frozen=True)
class Content:
    """A checkpoint of any family.

    Attributes:
        family: whose it is.
        layers, dim: of its transformer, or of its aggregator.
        tensors: under native names.
        source: the family's own form of it, which its writers take.
        notes: sentences for the user.
    """

    family: str
    layers: int
    dim: int
    tensors: Tensors
    source: Any
    notes: Notes = ()


Writer = Callable[[Content, Path], Notes]


@dataclass(frozen=True)
class Kind:
    """What can be done with the checkpoints of some families.

    Attributes:
        families: what a native folder may say that it holds.
        recognized: whether the content of a file is theirs.
        opened: reads a file or folder.
        writers: each writes to a path, over what is there, and gives sentences on what the format does not hold.
    """

    families: tuple[str, ...]
    recognized: Callable[[Any], bool]
    opened: Callable[[Path], Content]
    writers: Mapping[str, Writer]


def write_native(content: Content, path: Path) -> Notes:
    """The writer of native folders where `source` is the configuration."""
    config = {"family": content.family, **content.source.model_dump(mode="json")}
    replace_folder(path, lambda folder: native.write_native(folder, config, content.tensors))
    return ()


def writer(write: Callable[[Path, Any, Tensors], None]) -> Writer:
    """A writer of what loses nothing, from a function of the path, the configuration and the tensors."""

    def written(content: Content, path: Path) -> Notes:
        write(path, content.source, content.tensors)
        return ()

    return written
