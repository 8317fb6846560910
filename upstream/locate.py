"""From what `-k` says, or from nothing, to a checkpoint on this machine.

Looked up in this order: an existing path, a shipped name, `OWNER/NAME[@REVISION][/FILE]` on the Hugging Face hub.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from upstream.errors import UpstreamError
from upstream.folder import CONFIG_FILE, WEIGHTS_FILE, weights_among
from upstream.hub import CHECKPOINT_SUFFIXES, fetch_encoder, fetch_file
from upstream.registry import unknown

SHIPPED = Path(__file__).parent / "shipped"
_REVISION = r"refs/[\w-]+/[\w.-]+|[\w.-]+"
_HUB_NAME = re.compile(rf"(?P<repo>\w[\w.-]*/[\w.-]+)(?:@(?P<revision>{_REVISION}))?(?:/(?P<file>[\w./+=-]+))?")
_HUB_URL = re.compile(
    r"https://huggingface\.co/(?P<repo>[\w.-]+/[\w.-]+)"
    rf"(?:/(?:tree|blob|resolve)/(?P<revision>{_REVISION})(?:/(?P<file>[^?]+))?)?/?(?:\?.*)?"
)


def shipped() -> dict[str, Path]:
    """Checkpoints that come with Weir, by name."""
    return {path.name: path for path in sorted(SHIPPED.glob("*")) if (path / CONFIG_FILE).is_file()}


def find_checkpoint(text: str | Path) -> Path:
    """Find a checkpoint: a file or folder, a shipped name, or `OWNER/NAME[@REVISION][/FILE]` on the hub, downloaded once.

    Returns: a file; or a folder with `config.json` and weights, native or of Hugging Face.

    Raises:
        UpstreamError: there is no such thing, or the hub could not be reached.
    """
    found = _found(text)
    return found if isinstance(found, Path) else _on_hub(found["repo"], found["file"], found["revision"] or "main")


def checkpoint_here(text: str | Path) -> Path | None:
    """As `find_checkpoint` without asking the hub: None for a name that may be there.

    Raises:
        UpstreamError: it is neither here nor such a name.
    """
    found = _found(text)
    return found if isinstance(found, Path) else None


def _found(text: str | Path) -> Path | re.Match[str]:
    """A checkpoint on this machine, or the parts of a name or address on the hub."""
    path = Path(text).expanduser()
    if path.exists():
        return _in_folder(path) if path.is_dir() else path
    name = str(text)
    known = shipped()
    if name in known:
        return known[name]
    hub = None if name.startswith((".", "/", "~")) else _HUB_URL.fullmatch(name) or _HUB_NAME.fullmatch(name)
    if hub:
        return hub
    if "://" in name:
        raise UpstreamError(f"checkpoint '{name}': only https://huggingface.co/… is fetched; download the file and give its path")
    if os.sep in name or path.suffix in CHECKPOINT_SUFFIXES:
        raise UpstreamError(f"checkpoint '{name}': there is no such file or folder")
    raise UpstreamError(f"{unknown('checkpoint', name, known)}; or give a path, or OWNER/NAME on the hub")


def published_checkpoint(name: str, published: Mapping[str, Any]) -> Path:
    """Download an encoder's published weights.

    Args:
        name: the encoder.
        published: `repo`, and where they are known `file`, `revision` and `sha256` (of the file), from its card.
    """
    repo, file, revision = published["repo"], published.get("file"), published.get("revision", "main")
    return _on_hub(repo, file, revision, what=f"{name}: the published checkpoint", sha256=published.get("sha256"))


def _on_hub(repo: str, file: str | None, revision: str, what: str | None = None, sha256: str | None = None) -> Path:
    if file:
        return fetch_file(repo, file, revision, what=what, sha256=sha256)
    return fetch_encoder(repo, revision, what=what)


def _in_folder(folder: Path) -> Path:
    """The folder itself when it has a configuration and weights, else its only checkpoint file."""
    names = [path.name for path in folder.iterdir() if path.is_file()]
    if CONFIG_FILE in names and weights_among(names):
        return folder
    files = sorted(name for name in names if Path(name).suffix in CHECKPOINT_SUFFIXES)
    if len(files) == 1:
        return folder / files[0]
    if files:
        listed = ", ".join(files[:4]) + (", …" if len(files) > 4 else "")
        raise UpstreamError(f"checkpoint '{folder}': the folder has {len(files)} checkpoints ({listed}); name one of them")
    raise UpstreamError(f"checkpoint '{folder}': the folder has no checkpoint: neither {CONFIG_FILE} with {WEIGHTS_FILE} nor another file")
