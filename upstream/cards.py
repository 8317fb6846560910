"""What is known of each encoder without importing it: the cards in `configs/upstream/`, one file a family.

A card may list `models`: other published weights of the family, with what differs in their configuration. Names of the form
`FAMILY:MEMBER` stand for the members of a family that are not listed here (`s3prl:apc`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from upstream.errors import UpstreamError

FOLDER = Path(__file__).parent.parent / "configs" / "upstream"


@dataclass(frozen=True)
class Card:
    """One encoder by name.

    Attributes:
        name: registered name.
        encoder: where its class is, `module:class`.
        description: one line.
        aliases: other names.
        checkpoint_aliases: other names that need `-k`.
        takes_checkpoint: whether there are weights to load.
        published: `repo`, `file`, `revision` and perhaps `sha256` of the published weights; None where there are none. `checked` says
            whether the address was ever reached from here.
        config: what the class builds a model from.
        families: values of `Upstream.family` that its checkpoints may have; empty for any.
        model_of: the family's name, where this is one of several models.
        members: what may stand behind the colon, in words; None for an encoder without members.
    """

    name: str
    encoder: str
    description: str = ""
    aliases: tuple[str, ...] = ()
    checkpoint_aliases: tuple[str, ...] = ()
    takes_checkpoint: bool = True
    published: Mapping[str, Any] | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    families: tuple[str, ...] = ()
    model_of: str | None = None
    members: str | None = None

    @property
    def needs_checkpoint(self) -> bool:
        """Whether there is nothing to load without `-k`."""
        return self.takes_checkpoint and not self.published and self.members is None


@cache
def cards() -> dict[str, Card]:
    """All encoders of this project by name, the models of a family behind it."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: dict[str, Card] = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        found |= {card.name: card for card in _read(path.stem, yaml.load(path.read_text(encoding="utf-8"), Loader=loader))}
    return found


def _read(name: str, values: dict[str, Any]) -> Iterator[Card]:
    models = values.pop("models", {})
    config = values.get("config", {})
    yield _card(name, values)
    for model, differences in models.items():
        shared: dict[str, Any] = {key: values[key] for key in ("encoder", "families", "takes_checkpoint") if key in values}
        merged = _merged(config, differences.get("config", {}))
        yield _card(model, {**shared, **differences, "config": merged, "model_of": name})


def _card(name: str, values: Mapping[str, Any]) -> Card:
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return Card(name=name, **fields)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes`, nested mappings merged."""
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def aliases() -> dict[str, str]:
    """Other names and what they stand for.

    Raises:
        UpstreamError: two cards claim one.
    """
    found: dict[str, str] = {}
    for card in cards().values():
        for alias in (*card.aliases, *card.checkpoint_aliases):
            if alias in found or alias in cards():
                raise UpstreamError(f"configs/upstream: '{alias}' names both {found.get(alias, alias)} and {card.name}")
            found[alias] = card.name
    return found


def needs_checkpoint(name: str) -> bool:
    """Whether a name stands for its family with a checkpoint of the user's (`tera_local`)."""
    return any(name in card.checkpoint_aliases for card in cards().values())


def split(name: str) -> tuple[str, str]:
    """`FAMILY:MEMBER` in two; the member is empty where there is no colon."""
    family, _, member = name.partition(":")
    return family, member


def check_member(name: str, card: Card) -> None:
    """Refuse a member of an encoder that has none, and an encoder without the member that it needs.

    Raises:
        UpstreamError: one of both.
    """
    family, member = split(name)
    if member and card.members is None:
        raise UpstreamError(f"upstream '{name}': {family} has no members; use -u {family}")
    if card.members is not None and not member:
        raise UpstreamError(f"upstream '{name}' needs a name behind a colon: -u {family}:NAME, where NAME is {card.members}")
