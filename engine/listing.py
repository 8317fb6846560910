"""What there is: `--list` and `--describe`. No encoder, head or PyTorch is loaded for it, unless an encoder is measured."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import upstream
from engine.errors import ConfigError
from upstream import cards, certify
from upstream.adapters import s3prl_catalogue, torchaudio_catalogue
from upstream.locate import checkpoint_here
from upstream.registry import Registry, unknown

if TYPE_CHECKING:
    from engine.task import Task

OWN_CHECKPOINT = ("_local", "_url", "_custom")  # ends of s3prl's names that need a file


def names(tasks: Registry) -> str:
    """Upstreams, shipped checkpoints and tasks, one a line."""
    width = max(map(len, [*upstream.families(), *tasks.names()]))
    encoders = [line for name in upstream.families() for line in _encoder(name, width)]
    shipped = ", ".join(upstream.shipped()) or "none"
    heads = [line for name in tasks.names() for line in _wrapped(name, tasks.summary(name) or "says nothing of itself", width)]
    return "\n".join(["upstreams (-u)", *encoders, f"shipped checkpoints (-k): {shipped}", "tasks (-d)", *heads, *_of_s3prl()])


def _encoder(name: str, width: int) -> list[str]:
    models = ", ".join(upstream.models(name))
    return [f"  {name:<{width}}  {upstream.describe(name)}", *_wrapped("", f"also {models}" if models else "", width)]


def _wrapped(name: str, text: str, width: int) -> list[str]:
    """A name, and a text on as many lines as it needs beside it."""
    return textwrap.wrap(text, 120, initial_indent=f"  {name:<{width}}  ", subsequent_indent=" " * (width + 4))


def _of_s3prl() -> list[str]:
    """The encoders of the installed s3prl by family, and why a family cannot be imported on this machine."""
    title = "s3prl encoders (-u s3prl:NAME)"
    families, family_of = s3prl_catalogue.families(), s3prl_catalogue.family_of()
    if not families:
        return [title, f"  none: {s3prl_catalogue.MISSING}"]
    usable = sum(family.problem is None for family in families.values())
    lines = [f"{title}: {usable} of the {len(families)} families of s3prl {s3prl_catalogue.version()} can be imported here"]
    width = max(map(len, families))
    for name, family in families.items():
        entries = [entry for entry in family.entries if family_of[entry] == name and not entry.endswith(OWN_CHECKPOINT)]
        lines += _wrapped(name, f"cannot be imported: {family.problem}" if family.problem else ", ".join(entries) or "with -k alone", width)
    return [*lines, "  with a checkpoint of your own: -u s3prl:FAMILY -k FILE"]


def card(name: str, tasks: Registry, checkpoint: str | None = None) -> str:
    """The protocol card of a task, or what an upstream, with this checkpoint of the user's, or a shipped checkpoint is.

    Raises:
        ConfigError: an unknown name, or a checkpoint that is not there.
    """
    if name in tasks.names() or name in tasks.aliases():
        return _aligned(_task(tasks.load(name)))
    if name in upstream.shipped():
        return f"{name}: a checkpoint that ships with Weir; use it with -k {name}"
    try:
        resolved = upstream.resolve(name) if ":" in name else upstream.registry.resolve(name)
        members = _members(resolved)
    except upstream.UpstreamError as error:
        raise ConfigError(f"{error}; tasks: {', '.join(tasks.names())}") from None
    if checkpoint is not None:
        _check_checkpoint(resolved, checkpoint)
    return _aligned([*_upstream(resolved), *members, *_certificate(resolved, checkpoint)])


def _check_checkpoint(name: str, checkpoint: str) -> None:
    try:
        upstream.check(name, checkpoint)
        checkpoint_here(checkpoint)
    except upstream.UpstreamError as error:
        raise ConfigError(str(error)) from None


def _task(task: type[Task]) -> list[tuple[str, str]]:
    from engine.task import HeadTask  # not before: it brings the configuration models

    card = task.card
    lines = [("task", f"{task.name}: {card.title}"), ("data", card.data)]
    lines += [(f"split {split}", size) for split, size in card.splits.items()]
    lines.append(("head", card.head))
    for metric in task.metrics:
        better = "higher" if metric.higher_is_better else "lower"
        lines.append((f"metric {metric.name}", f"{metric.formula} [{metric.unit or 'fraction'}, {better} is better]"))
    chosen = f"{card.selection} -> {task.best_checkpoint}" if issubclass(task, HeadTask) else card.selection
    lines += [("selection", chosen), ("evaluated split", task.test_split), ("source", card.source)]
    for quirk in task.quirks:
        lines += [(f"quirk {quirk.name}", f"superb: {quirk.superb}"), ("", f"corrected: {quirk.corrected}")]
    return [*lines, *(("departure", departure) for departure in card.departures), *(("note", note) for note in card.notes)]


def _upstream(name: str) -> list[tuple[str, str]]:
    card = upstream.card(name)
    lines = [("upstream", f"{name}: {upstream.describe(name)}")]
    if card.name not in cards.cards():
        return lines  # its class would have to be imported
    takes = "file, folder, shipped name or OWNER/NAME on the hub" if card.takes_checkpoint else "takes none"
    lines.append(("checkpoint (-k)", takes))
    if card.published:
        lines.append(("published weights", f"{card.published['repo']}/{card.published['file']}"))
    if card.members is None and (small := upstream.shipped_for(name)):
        lines.append(("on demo corpora", small))
    if models := upstream.models(card.name):
        lines.append(("other models", ", ".join(models)))
    if aliases := [*card.aliases, *card.checkpoint_aliases]:
        lines.append(("other names", ", ".join(aliases)))
    return lines


def _members(name: str) -> list[tuple[str, str]]:
    """What the installed s3prl and torchaudio have behind the colon. Raises UpstreamError for a member that they lack."""

    family, _, member = name.partition(":")
    if family == "torchaudio":
        bundles = torchaudio_catalogue.bundles()
        if member and bundles and member not in bundles:
            raise upstream.UpstreamError(unknown("bundle of torchaudio", member, bundles))
        return [] if member else [("bundles", ", ".join(bundles) or "none: torchaudio is not installed")]
    if family != "s3prl" or not member:
        return []
    found = s3prl_catalogue.find_family(member)
    own = "the family itself" if member == found.name and member not in found.entries else f"an entry of {found.name}"
    lines = [("in s3prl", f"{own}, which has {', '.join(found.entries)}")]
    return [*lines, ("cannot be imported", found.problem)] if found.problem else lines


def _certificate(name: str, checkpoint: str | None) -> list[tuple[str, str]]:
    """What was measured of an encoder; measured now, which brings PyTorch, where that takes seconds."""
    if upstream.card(name).name not in cards.cards():
        return [("certificate", f"python -m upstream.certify {name} measures it; not kept, as its code can change")]
    try:
        found = certify.at_hand(name, checkpoint)
    except upstream.UpstreamError as error:
        return [("certificate", f"none: {error}")]
    return found.lines() if found else [("certificate", f"not measured yet: {certify.how_to(name, checkpoint)}")]


def _aligned(lines: list[tuple[str, str]]) -> str:
    width = max(len(key) for key, _ in lines)
    return "\n".join(f"{key:<{width}}  {value}" for key, value in lines)
