"""The bundles of the installed torchaudio that are speech encoders: read from its files, nothing of it is imported."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

KIND = "Wav2Vec2"  # what the names of their classes begin with


@cache
def bundles() -> tuple[str, ...]:
    """Their names, in the files' order; none without torchaudio."""
    spec = importlib.util.find_spec("torchaudio")
    if spec is None or not spec.submodule_search_locations:
        return ()
    folder = Path(next(iter(spec.submodule_search_locations))) / "pipelines"
    sources = [path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py"))]
    return tuple(name for source in sources if KIND in source for name in _made(ast.parse(source)))


def _made(tree: ast.Module) -> Iterator[str]:
    """The names that a module gives to bundles that it makes."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and ast.unparse(node.value.func).startswith(KIND):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
