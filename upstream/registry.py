"""Finding things by name without importing them: encoders here, tasks and objectives in their own rooms.

A registry knows where each name is defined (`module:attribute`) and imports that module only when the name is loaded. Names
come from a folder of this project and from entry points of installed packages; adding one is adding a file.
"""

from __future__ import annotations

import glob
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib import metadata


def modules_in(folder: Path, package: str, without: Iterable[str] = ()) -> dict[str, str]:
    """The modules of a package folder as `{name: package.name}`; `without` and names with a leading underscore are left out."""
    skipped = set(without)
    names = sorted(path.stem for path in folder.glob("*.py"))
    return {name: f"{package}.{name}" for name in names if not name.startswith("_") and name not in skipped}


def entry_points(group: str) -> list[metadata.EntryPoint]:
    """Entry points of one group. `importlib.metadata` is asked only when some installed package mentions the group."""
    if not any(_mentions(Path(folder), f"[{group}]") for folder in sys.path):
        return []
    from importlib import metadata

    return list(metadata.entry_points(group=group))


def _mentions(folder: Path, heading: str) -> bool:
    """Whether a package installed in `folder` has `heading` in its entry points; a zip file may have."""
    if folder.is_file():
        return True
    for pattern in ("*.dist-info/entry_points.txt", "*.egg-info/entry_points.txt"):
        for path in glob.iglob(pattern, root_dir=folder):
            try:
                if heading in (folder / path).read_text(encoding="utf-8", errors="replace"):
                    return True
            except OSError:
                continue
    return False


class RegistryError(ValueError):
    """A name that nothing is known by, or that two packages claim."""


class Registry:
    """Names of one kind.

    Args:
        kind: what the names are, for messages: `upstream`, `task`.
        error: class of the errors raised.
        own: gives this project's names and their targets, `module` or `module:attribute`.
        group: entry-point group through which other packages add names.
        aliases: gives other names and what they stand for; asked only when a name is not found.
        listed: gives the names that the message for an unknown one lists; all of them where it is None.
    """

    def __init__(
        self,
        kind: str,
        error: type[Exception],
        own: Callable[[], Mapping[str, str]],
        group: str,
        aliases: Callable[[], Mapping[str, str]] = dict,
        listed: Callable[[], Iterable[str]] | None = None,
    ) -> None:
        self.kind, self.error, self.own, self.group, self.aliases = kind, error, own, group, aliases
        self.listed = listed or self.names

    @cached_property
    def targets(self) -> dict[str, str]:
        """Where each name is defined, sorted by name.

        Raises:
            error: two packages claim one name.
        """
        targets = dict(self.own())
        for point in entry_points(self.group):
            if targets.get(point.name, point.value) != point.value:
                raise self.error(
                    f"two {self.kind}s are called '{point.name}': {targets[point.name]} and {point.value} "
                    f"(entry point {self.group}); uninstall one of the packages"
                )
            targets[point.name] = point.value
        return dict(sorted(targets.items()))

    def names(self) -> list[str]:
        """All names, without aliases."""
        return list(self.targets)

    def resolve(self, name: str) -> str:
        """The registered name behind `name`, which may be an alias.

        Raises:
            error: unknown; the message has the nearest name and all known ones.
        """
        if name in self.targets:
            return name
        aliases = self.aliases()
        if name in aliases:
            return aliases[name]
        raise self.error(unknown(self.kind, name, self.listed(), self.targets, aliases))

    def summary(self, name: str) -> str:
        """What the file behind a name says of itself in its first line, without importing it; empty where it says nothing."""
        module = self.targets[self.resolve(name)].partition(":")[0]
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            return ""
        with open(spec.origin, encoding="utf-8") as file:
            first = file.readline().strip()
        return first.strip('"').strip() if first.startswith('"""') else ""

    def load(self, name: str) -> Any:
        """Import and return the module or attribute behind a name or alias."""
        module, _, attribute = self.targets[self.resolve(name)].partition(":")
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if not module.startswith(str(error.name)):  # it is there, and what it needs is not
                raise
            raise self.error(f"{self.kind} '{name}': its module {module} is not installed; install its package again") from None
        return getattr(found, attribute) if attribute else found


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like `word`, or None when nothing does."""
    import difflib  # only where something was not found

    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def unknown(kind: str, name: str, listed: Iterable[str], *others: Iterable[str]) -> str:
    """The message for a name that does not exist: the nearest of `others`, the first group that has one, or of those that it lists."""
    names = list(listed)
    guess = next((found for group in (*others, names) if (found := nearest(name, group))), None)
    return f"unknown {kind} '{name}'{f': did you mean {guess!r}?' if guess else ';'} known: {', '.join(names) or 'none'}"
