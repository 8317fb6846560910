"""Speech encoders behind one interface: `upstream.load(name, checkpoint=None)`.

Importing this package imports no encoder and no PyTorch: names and descriptions come from `configs/upstream/`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upstream.errors import UpstreamError
from upstream.locate import find_checkpoint, published_checkpoint, shipped
from upstream.registry import Registry

if TYPE_CHECKING:
    from upstream.base import Padding, Upstream

__all__ = [
    "UpstreamError",
    "card",
    "check",
    "describe",
    "find_checkpoint",
    "fingerprint",
    "load",
    "names",
    "published_checkpoint",
    "registry",
    "shipped",
    "shipped_for",
]

CARDS = Path(__file__).parent.parent / "configs" / "upstream"


@cache
def _cards() -> dict[str, dict[str, Any]]:
    """Each encoder's configuration: `encoder` (module:class), `description`, aliases, `published`."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return {path.stem: yaml.load(path.read_text(encoding="utf-8"), Loader=loader) for path in sorted(CARDS.glob("*.yaml"))}


def _aliases(*kinds: str) -> dict[str, str]:
    return {alias: name for name, card in _cards().items() for kind in kinds for alias in card.get(kind, ())}


registry = Registry(
    kind="upstream",
    error=UpstreamError,
    own=lambda: {name: card["encoder"] for name, card in _cards().items()},
    group="weir.upstreams",
    aliases=lambda: _aliases("aliases", "checkpoint_aliases"),
)


def names() -> list[str]:
    """All encoders that can be loaded, without aliases."""
    return registry.names()


def describe(name: str) -> str:
    """One line about an encoder."""
    name = registry.resolve(name)
    return _cards().get(name, {}).get("description") or f"from another package: {registry.targets[name]}"


def card(name: str) -> dict[str, Any]:
    """What `configs/upstream/NAME.yaml` says; `encoder` alone for one from another package."""
    name = registry.resolve(name)
    return dict(_cards().get(name) or {"encoder": registry.targets[name]})


def shipped_for(name: str) -> str | None:
    """The shipped checkpoint of an encoder, `NAME-mini`, if there is one."""
    small = f"{registry.resolve(name)}-mini"
    return small if small in shipped() else None


def load(name: str, checkpoint: str | Path | None = None, *, padding: Padding = "alone") -> Upstream:
    """Build an encoder with its weights, in evaluation mode, on the CPU.

    Args:
        name: a registered name or alias.
        checkpoint: a path, a shipped name or `OWNER/NAME` on the hub; None takes the published weights.
        padding: `alone`, each utterance as if by itself; `reference`, the published batch-dependent behaviour where there is one.

    Raises:
        UpstreamError: unknown name, unusable or missing checkpoint, or one for an encoder that takes none.
    """
    if padding not in ("alone", "reference"):
        raise UpstreamError(f"padding '{padding}' is not known; known: alone, reference")
    resolved = check(name, checkpoint)
    kind = registry.load(resolved)
    if checkpoint is not None and not kind.takes_checkpoint:
        raise _takes_none(resolved, checkpoint)
    path = _checkpoint(resolved, checkpoint)

    import torch

    with torch.random.fork_rng(devices=[]):  # loading an encoder does not shift anyone's random numbers
        model: Upstream = kind.from_checkpoint(path, padding)
    model.name = resolved
    return model.eval()


def check(name: str, checkpoint: str | Path | None = None) -> str:
    """The registered name behind `name`, after refusing, without building anything, what cannot work.

    Raises:
        UpstreamError: unknown name, or a checkpoint for an encoder that takes none, or none for an alias that needs one.
    """
    resolved = registry.resolve(name)
    if checkpoint is not None and not card(resolved).get("takes_checkpoint", True):
        raise _takes_none(resolved, checkpoint)
    if checkpoint is None and name != resolved and name in _aliases("checkpoint_aliases"):
        raise UpstreamError(f"upstream '{name}' needs a checkpoint: give it with -k, or use '{resolved}' for the published one")
    return resolved


def _takes_none(name: str, checkpoint: str | Path) -> UpstreamError:
    return UpstreamError(f"upstream '{name}' takes no checkpoint, but was given '{checkpoint}'; leave -k out")


def _checkpoint(name: str, checkpoint: str | Path | None) -> Path | None:
    """Where the weights of an encoder are; None when it has no published ones, or takes none."""
    if checkpoint is not None:
        return find_checkpoint(checkpoint)
    published = card(name).get("published")
    return published_checkpoint(name, published) if published else None


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
