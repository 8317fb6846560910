"""What the installed s3prl has, and which of its families can be imported here: read from its files, nothing of it is imported.

A family is a folder of `s3prl/upstream` with a `hubconf.py`, whose public functions are the entries, each an encoder. `s3prl.hub`
imports all families at once and fails where a single one does; here every family is judged by itself.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from upstream.errors import UpstreamError
from upstream.registry import unknown

PACKAGE = "s3prl"
FROM_FILE = ("_local", "_custom", "_url")  # endings of entries that open a checkpoint of the user's
MISSING = "s3prl is not installed: pip install s3prl"
WATCHED = "torchaudio"  # whose functions come and go between releases; s3prl calls one while it is imported


@dataclass(frozen=True)
class Family:
    """One folder of encoders.

    Attributes:
        name: the folder's.
        entries: names of encoders, in the file's order.
        from_file: those of them that open a file and bring no weights.
        problem: why it cannot be imported here; None where it can.
    """

    name: str
    entries: tuple[str, ...]
    from_file: frozenset[str]
    problem: str | None


@cache
def package() -> Path | None:
    """The folder of the installed s3prl."""
    return _location(PACKAGE)


def version() -> str:
    """The release of the installed s3prl, "" where there is none."""
    folder = package()
    return (folder / "version.txt").read_text(encoding="utf-8").strip() if folder else ""


@cache
def families() -> dict[str, Family]:
    """All families by name; empty without s3prl."""
    folder = package()
    if folder is None:
        return {}
    reader = _Imports(folder)
    return {path.parent.name: _family(path, reader) for path in sorted((folder / "upstream").glob("*/hubconf.py"))}


def family_of() -> dict[str, str]:
    """The family of each entry. Of two with one name the later family's stands, as in `s3prl.hub`."""
    return {entry: family.name for family in families().values() for entry in family.entries}


def find_family(member: str) -> Family:
    """The family of an entry, or the one of that name.

    Raises:
        UpstreamError: s3prl is not installed, or has neither.
    """
    known, by_entry = families(), family_of()
    if not known:
        raise UpstreamError(f"s3prl:{member}: {MISSING}")
    name = by_entry.get(member, member)
    if name not in known:
        raise UpstreamError(unknown("s3prl encoder", member, known, by_entry))
    return known[name]


def _family(path: Path, reader: _Imports) -> Family:
    entries = dict(_entries(_parsed(path, _SUITE, r"\1 pass\n")))
    from_file = frozenset(name for name, needs in entries.items() if needs)
    return Family(path.parent.name, tuple(entries), from_file, reader.problem(path))


def _entries(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """The public functions of a hubconf, or those of another one under a new name, and whether each needs a file."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            required = len(node.args.args) > len(node.args.defaults)
            yield node.name, required or node.name.endswith(FROM_FILE)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").endswith("hubconf"):
            for alias in node.names:
                yield alias.asname or alias.name, alias.name.endswith(FROM_FILE)


class _Imports:
    """Follows what a module of s3prl imports while it is imported itself.

    Args:
        folder: of the package.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: dict[Path, str | None] = {}

    def problem(self, path: Path) -> str | None:
        """The first thing that this module, or one of s3prl that it imports, needs and does not find."""
        if path not in self.problems:
            self.problems[path] = None  # so that circles end
            self.problems[path] = next(self._problems(path), None)
        return self.problems[path]

    def _problems(self, path: Path) -> Iterator[str]:
        for node in _executed(_parsed(path, _BLOCK, "pass\n").body):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield from self._module(alias.name)
            elif isinstance(node, ast.ImportFrom):
                yield from self._from(node, path)
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == WATCHED:
                yield from _attribute(node.attr)

    def _from(self, node: ast.ImportFrom, path: Path) -> Iterator[str]:
        module = node.module or ""
        if node.level:
            parents = [PACKAGE, *path.relative_to(self.folder).parts][: -node.level]
            module = ".".join([*parents, *([module] if module else [])])
        yield from self._module(module)
        for alias in node.names:
            if module.partition(".")[0] == PACKAGE and _file(self.folder, f"{module}.{alias.name}"):
                yield from self._module(f"{module}.{alias.name}")

    def _module(self, name: str) -> Iterator[str]:
        if name.partition(".")[0] != PACKAGE:
            if not _is_module(name):
                yield f"no module {name}"
            return
        parts = name.split(".")
        for count in range(1, len(parts) + 1):  # a package is imported before what is in it
            path = _file(self.folder, ".".join(parts[:count]))
            if path is None and not self.folder.joinpath(*parts[1:count]).is_dir():
                yield f"no module {name}"
            elif path and (found := self.problem(path)):
                yield found


@cache
def _file(folder: Path, name: str) -> Path | None:
    """The file of a module of s3prl."""
    stem = os.path.join(folder, *name.split(".")[1:])
    return next((Path(path) for path in (os.path.join(stem, "__init__.py"), f"{stem}.py") if os.path.isfile(path)), None)


_BLOCK = re.compile(r"^(?:@.*\n)*(?:async def|def|class) .*\n(?:(?:[ \t].*|\).*)?\n)*", re.MULTILINE)
"""A function or a class at the margin."""

_SUITE = re.compile(r"^(\S.*:)\n(?:(?:[ \t].*)?\n)+", re.MULTILINE)
"""The end of a heading at the margin, and the body below."""


def _parsed(path: Path, left_out: re.Pattern[str], instead: str) -> ast.Module:
    """A module without what is left out of its text: parsing the bodies of functions would take ten times as long."""
    source = path.read_text(encoding="utf-8") + "\n"
    try:
        return ast.parse(left_out.sub(instead, source))
    except SyntaxError:  # a text whose lines begin at the margin, in a body
        return ast.parse(source)


def _executed(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """The imports and expressions that run when a module is imported and whose failure nobody catches."""
    for node in body:
        if isinstance(node, ast.If):
            if not ({name.id for name in ast.walk(node.test) if isinstance(name, ast.Name)} & {"__name__", "TYPE_CHECKING"}):
                yield from _executed([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            yield from _executed([*([] if node.handlers else node.body), *node.orelse, *node.finalbody])
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield from ast.walk(node)


@cache
def _location(package: str) -> Path | None:
    """The folder of a top-level package; asking for it imports nothing."""
    spec = importlib.util.find_spec(package)
    return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None


@cache
def _is_module(name: str) -> bool:
    """Whether a module of another package is on the disk; `find_spec` of a dotted name would import the package."""
    top, *rest = name.split(".")
    if top in sys.stdlib_module_names:
        return True
    folder = _location(top)
    if folder is None or not rest:
        return importlib.util.find_spec(top) is not None
    path = folder.joinpath(*rest)
    return path.is_dir() or any(path.parent.glob(f"{path.name}.py")) or any(path.parent.glob(f"{path.name}.*.so"))


def _attribute(name: str) -> Iterator[str]:
    """What is wrong with the use of an attribute of the watched package."""
    if name not in _names_of_watched() and not _is_module(f"{WATCHED}.{name}"):
        yield f"{WATCHED} has no {name}"


@cache
def _names_of_watched() -> frozenset[str]:
    """What the watched package's `__init__` defines or imports."""
    folder = _location(WATCHED)
    if folder is None:
        return frozenset()
    names: set[str] = set()
    for node in ast.walk(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return frozenset(names)
