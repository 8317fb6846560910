"""From what `-k` says, or from nothing, to a checkpoint on this machine.

Looked up in this order: an existing path, a shipped name, `OWNER/NAME` on the Hugging Face hub.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from upstream.errors import UpstreamError
from upstream.registry import unknown

SHIPPED = Path(__file__).parent / "shipped"
NATIVE_FILES = ("config.json", "model.safetensors")
CHECKPOINT_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin", ".safetensors")
HUB_TIMEOUT = 10.0  # seconds
_HUB_NAME = re.compile(r"(?P<repo>[\w][\w.-]*/[\w.-]+)(?:/(?P<file>[\w./-]+))?")
_HUB_URL = re.compile(r"https://huggingface\.co/(?P<repo>[\w.-]+/[\w.-]+)/resolve/(?P<revision>[^/]+)/(?P<file>[^?]+)(?:\?.*)?")


def shipped() -> dict[str, Path]:
    """Checkpoints that come with Weir, by name."""
    return {path.name: path for path in sorted(SHIPPED.glob("*")) if (path / NATIVE_FILES[0]).is_file()}


def find_checkpoint(text: str | Path) -> Path:
    """Find a checkpoint: an existing file or folder, a shipped name, or `OWNER/NAME[/FILE]` on the hub, which is downloaded once.

    Raises:
        UpstreamError: there is no such thing, or the hub could not be reached.
    """
    path = Path(text).expanduser()
    if path.exists():
        return _in_folder(path) if path.is_dir() else path
    name = str(text)
    known = shipped()
    if name in known:
        return known[name]
    if url := _HUB_URL.fullmatch(name):
        return _download(url["repo"], url["file"], url["revision"])
    if "://" in name:
        raise UpstreamError(f"checkpoint '{name}': only https://huggingface.co/… is fetched; download the file and give its path")
    hub = None if name.startswith((".", "/", "~")) else _HUB_NAME.fullmatch(name)
    if hub:
        return _from_hub(hub["repo"], hub["file"])
    if os.sep in name or path.suffix in CHECKPOINT_SUFFIXES:
        raise UpstreamError(f"checkpoint '{name}': there is no such file or folder")
    raise UpstreamError(f"{unknown('checkpoint', name, known)}; or give a path, or OWNER/NAME on the hub")


def published_checkpoint(name: str, published: Mapping[str, Any]) -> Path:
    """Download an encoder's published file.

    Args:
        name: the encoder.
        published: `repo`, `file` and `revision`, from its configuration.
    """
    return _download(published["repo"], published["file"], published.get("revision", "main"), f"{name}: the published checkpoint")


def _in_folder(folder: Path) -> Path:
    """The folder itself when it is in the native format, else its only checkpoint file."""
    if all((folder / name).is_file() for name in NATIVE_FILES):
        return folder
    files = sorted(path for path in folder.iterdir() if path.suffix in CHECKPOINT_SUFFIXES)
    if len(files) == 1:
        return files[0]
    if files:
        names = ", ".join(path.name for path in files[:4]) + (", …" if len(files) > 4 else "")
        raise UpstreamError(f"checkpoint '{folder}': the folder has {len(files)} checkpoints ({names}); name one of them")
    raise UpstreamError(f"checkpoint '{folder}': the folder has no checkpoint: neither {' and '.join(NATIVE_FILES)} nor another file")


def _from_hub(repo: str, file: str | None) -> Path:
    if file:
        return _download(repo, file, "main")
    config = _download(repo, NATIVE_FILES[0], "main")
    return _download(repo, NATIVE_FILES[1], config.parent.name).parent  # the weights of the same commit


def _download(repo: str, file: str, revision: str, what: str = "checkpoint, no path on this machine:") -> Path:
    """One file of a hub repository, from the cache when it is there and the hub does not answer."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError

    place = f"{what} '{file}' of '{repo}' (revision {revision}) on the hub"
    remedy = "give a checkpoint on this machine with -k PATH"
    endpoint = os.environ.get("HF_ENDPOINT")
    try:
        if not isinstance(try_to_load_from_cache(repo, file, revision=revision), str):  # ask once: the download would retry for long
            get_hf_file_metadata(hf_hub_url(repo, file, revision=revision, endpoint=endpoint), timeout=HUB_TIMEOUT)
        return Path(hf_hub_download(repo, file, revision=revision, endpoint=endpoint))
    except RepositoryNotFoundError:
        raise UpstreamError(f"{place}: there is no such public repository; {remedy}") from None
    except LocalEntryNotFoundError:
        raise UpstreamError(f"{place}: the hub cannot be reached and the file is not in the cache; {remedy}") from None
    except EntryNotFoundError:
        raise UpstreamError(f"{place}: the repository has no such file; name one as -k {repo}/FILE, or {remedy}") from None
    except Exception as error:  # noqa: BLE001 - the HTTP client's errors share no public base
        reason = " ".join(str(error).split())[:200]
        raise UpstreamError(f"{place}: could not be fetched ({type(error).__name__}: {reason}); {remedy}") from None
