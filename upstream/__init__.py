"""Speech encoders behind one interface: `upstream.load(name, checkpoint=None)`.

Importing this package imports no encoder and no PyTorch: names and descriptions come from `configs/upstream/`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from upstream import cards
from upstream.cards import Card
from upstream.errors import UpstreamError
from upstream.locate import find_checkpoint, published_checkpoint, shipped
from upstream.registry import Registry

if TYPE_CHECKING:
    from upstream.base import Padding, Upstream

__all__ = [
    "Card",
    "UpstreamError",
    "build",
    "card",
    "check",
    "describe",
    "families",
    "find_checkpoint",
    "fingerprint",
    "load",
    "models",
    "names",
    "published_checkpoint",
    "registry",
    "require_weights",
    "resolve",
    "shipped",
    "shipped_for",
]

registry = Registry(
    kind="upstream",
    error=UpstreamError,
    own=lambda: {card.name: card.encoder for card in cards.cards().values()},
    group="weir.upstreams",
    aliases=cards.aliases,
    listed=lambda: families(),
)


def names() -> list[str]:
    """All encoders that can be loaded, without aliases."""
    return registry.names()


def families() -> list[str]:
    """The names without those that are one of a family's published models."""
    return [name for name in names() if card(name).model_of is None]


def models(family: str) -> list[str]:
    """The further published models of a family."""
    return [card.name for card in cards.cards().values() if card.model_of == family]


def resolve(name: str) -> str:
    """The registered name behind `name`, which may be an alias or `FAMILY:MEMBER`.

    Raises:
        UpstreamError: unknown, or a member is missing or too many.
    """
    family, member = cards.split(name)
    if name in shipped():
        raise UpstreamError(f"'{name}' is a checkpoint, no upstream; give it with -k: -u {name.rpartition('-')[0]} -k {name}")
    resolved = registry.resolve(family)
    full = f"{resolved}:{member}" if member else resolved
    cards.check_member(full, card(resolved))
    return full


def describe(name: str) -> str:
    """One line about an encoder."""
    return card(name).description or f"from another package: {card(name).encoder}"


def card(name: str) -> Card:
    """What is known of an encoder without importing it; of one from another package, where its class is."""
    name = registry.resolve(cards.split(name)[0])
    return cards.cards().get(name) or Card(name, registry.targets[name])


def shipped_for(name: str) -> str | None:
    """The shipped checkpoint of an encoder, `NAME-mini`, if there is one."""
    small = f"{resolve(name)}-mini"
    return small if small in shipped() else None


def load(name: str, checkpoint: str | Path | None = None, *, padding: Padding = "alone") -> Upstream:
    """Build an encoder with its weights, in evaluation mode, on the CPU.

    Args:
        name: a registered name or alias, or `FAMILY:MEMBER`.
        checkpoint: a path, a shipped name or `OWNER/NAME` on the hub; None takes the published weights.
        padding: `alone`, each utterance as if by itself; `reference`, the published batch-dependent behaviour where there is one.

    Raises:
        UpstreamError: unknown name, unusable or missing checkpoint, or one for an encoder that takes none.
    """
    _check_padding(padding)
    resolved = check(name, checkpoint)
    kind = registry.load(cards.split(resolved)[0])
    if checkpoint is not None and not kind.takes_checkpoint:
        raise _takes_none(resolved, checkpoint)
    path = _checkpoint(resolved, checkpoint)
    if path is None and kind.takes_checkpoint and card(resolved).members is None:
        raise _needs_one(resolved)
    return _made(resolved, lambda: _opened(kind, resolved, path, padding))


def build(name: str, *, padding: Padding = "alone") -> Upstream:
    """An encoder of the published configuration with random weights, in evaluation mode, on the CPU.

    Raises:
        UpstreamError: unknown name, or an encoder that only exists with its checkpoint.
    """
    _check_padding(padding)
    resolved = resolve(name)
    kind = registry.load(cards.split(resolved)[0])
    return _made(resolved, lambda: kind.from_config(card(resolved).config, padding))


def _made(name: str, make) -> Upstream:  # type: ignore[no-untyped-def]
    """What `make` builds, under its name; building an encoder does not shift anyone's random numbers."""
    import torch

    with torch.random.fork_rng(devices=[]):
        model: Upstream = make()
    model.name = name
    return model.eval()


def _opened(kind: type[Upstream], name: str, path: Path | None, padding: Padding) -> Upstream:
    member = cards.split(name)[1]
    model = kind.from_member(member, path, padding) if member else kind.from_checkpoint(path, padding)
    known = card(name)
    if known.families and model.family not in known.families:
        raise UpstreamError(f"{path}: holds a {model.family} encoder, not {name}; use -u {model.family}")
    if known.model_of and (differences := model.differences(known.config)):
        raise UpstreamError(f"{path}: is not {name}: {', '.join(differences)}; use -u {known.model_of} for weights of your own")
    return model


def _check_padding(padding: str) -> None:
    if padding not in ("alone", "reference"):
        raise UpstreamError(f"padding '{padding}' is not known; known: alone, reference")


def check(name: str, checkpoint: str | Path | None = None) -> str:
    """The registered name behind `name`, after refusing, without building anything, what cannot work.

    Raises:
        UpstreamError: unknown name, or a checkpoint for an encoder that takes none, or none for an alias that needs one.
    """
    resolved = resolve(name)
    if checkpoint is not None and not card(resolved).takes_checkpoint:
        raise _takes_none(resolved, checkpoint)
    if checkpoint is None and name != resolved and cards.needs_checkpoint(name):
        raise UpstreamError(f"upstream '{name}' needs a checkpoint: give it with -k, or use '{resolved}' for the published one")
    return resolved


def _needs_one(name: str) -> UpstreamError:
    return UpstreamError(f"upstream '{name}' needs a checkpoint, as no published one is known here: give it with -k")


def require_weights(name: str, checkpoint: str | Path | None) -> None:
    """Refuse, without building anything, an encoder of this project that has no weights but those of `-k`.

    Raises:
        UpstreamError: there is no `checkpoint`, and no published one.
    """
    known = card(name)
    if checkpoint is None and known.name in cards.cards() and known.needs_checkpoint:
        raise _needs_one(name)


def _takes_none(name: str, checkpoint: str | Path) -> UpstreamError:
    return UpstreamError(f"upstream '{name}' takes no checkpoint, but was given '{checkpoint}'; leave -k out")


def _checkpoint(name: str, checkpoint: str | Path | None) -> Path | None:
    """Where the weights of an encoder are; None when it has no published ones, or takes none."""
    if checkpoint is not None:
        return find_checkpoint(checkpoint)
    published = card(name).published
    try:
        return published_checkpoint(name, published) if published else None
    except UpstreamError as error:
        small = shipped_for(name)
        raise UpstreamError(f"{error}, or -k {small}, which ships with Weir" if small else str(error)) from None


def fingerprint(upstream: Upstream) -> str:
    """A sha256 over everything that decides an encoder's states: class, code version, configuration, padding and weights."""
    import hashlib
    import json

    import torch

    kind = type(upstream)
    facts = [kind.__module__, kind.__qualname__, kind.code_version, upstream.padding, upstream.configuration()]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(upstream.state_dict().items()):
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
