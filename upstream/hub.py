"""Checkpoints from the Hugging Face hub: one file, or the files of one commit that an encoder needs.

Downloads go through `huggingface_hub` into its own cache: HF_ENDPOINT, HF_HOME, HF_HUB_OFFLINE and HF_TOKEN mean what they mean
there. A file whose sha256 is known, from the hub or from a card, is checked once, after its download.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from upstream.errors import UpstreamError
from upstream.folder import CONFIG_FILE, OPTIONAL, WEIGHTS, shards, weights_among

logger = logging.getLogger(__name__)

CHECKPOINT_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin", ".safetensors")
TIMEOUT = 10.0  # seconds of the first contact
REMEDY = "give a checkpoint on this machine with -k PATH"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def fetch_file(repo: str, file: str, revision: str = "main", *, sha256: str | None = None, what: str | None = None) -> Path:
    """Download one file of a repository, or take it from the cache when it is there and the hub does not answer.

    Args:
        repo: `OWNER/NAME`.
        file: its path in the repository.
        revision: a branch, tag or commit.
        sha256: what the file must hash to, where that is known beforehand; the hub's own word is checked too.
        what: who asks, for messages; None for the user, who may have meant a path.

    Raises:
        UpstreamError: no such repository, revision or file; no access; no answer and no cache; another content than expected.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    place = f"{what or 'checkpoint'} '{file}' of '{repo}' (revision {revision}) on the hub"
    cached = _cached(repo, file, revision)
    if cached and _COMMIT.fullmatch(revision):
        return cached
    with _one_clear_error(place, repo, by_user=what is None):
        try:  # asks once: the download would retry for long
            _refuse_offline()
            found = get_hf_file_metadata(hf_hub_url(repo, file, revision=revision, endpoint=_endpoint()), timeout=TIMEOUT)
        except Exception as error:  # noqa: BLE001 - the HTTP client's errors share no public base
            return _instead(cached, error, place)
        expected = {digest.lower() for digest in (sha256, found.etag) if digest and _SHA256.fullmatch(digest.lower())}
        if len(expected) > 1:
            raise UpstreamError(f"{place}: its sha256 is {found.etag}, expected {sha256}: it was replaced; pin the revision, or {REMEDY}")
        if kept := _cached(repo, file, found.commit_hash or revision):
            return kept
        path = Path(hf_hub_download(repo, file, revision=revision, endpoint=_endpoint()))
        for digest in expected:
            _verify(path, digest, place)
        return path


def fetch_encoder(repo: str, revision: str = "main", *, what: str | None = None) -> Path:
    """Download what an encoder needs of a repository, all from one commit.

    Returns: the folder with `config.json`, the weights, and where there are such, further heads, the preprocessor's configuration and
        the vocabulary; of a repository without `config.json`, its only checkpoint file.

    Raises:
        UpstreamError: as `fetch_file`; or the repository holds no encoder, or several checkpoints, which are listed.
    """
    named = f"'{repo}' (revision {revision})"
    place = f"{what} {named} on the hub" if what else f"{named} is no path here; on the hub"
    cached = _cached_encoder(repo, revision)
    if cached and _COMMIT.fullmatch(revision):
        return cached
    with _one_clear_error(place, repo, by_user=what is None):
        try:
            _refuse_offline()
            files = _files(repo, revision)
        except Exception as error:  # noqa: BLE001 - the HTTP client's errors share no public base
            return _instead(cached, error, place)
    weights = weights_among(files)
    if CONFIG_FILE not in files or weights is None:
        return fetch_file(repo, _only_checkpoint(files, repo, place), revision, what=what)
    folder = fetch_file(repo, CONFIG_FILE, revision, what=what).parent  # named like its commit, from which the rest comes
    for file in (*(name for name in OPTIONAL if name in files), weights):
        fetch_file(repo, file, folder.name, what=what)
    for file in shards(folder / weights):
        fetch_file(repo, file, folder.name, what=what)
    return folder


def _files(repo: str, revision: str) -> list[str]:
    """The names of a repository's files."""
    from huggingface_hub import HfApi

    info = HfApi(endpoint=_endpoint()).model_info(repo, revision=revision, timeout=TIMEOUT)
    return [file.rfilename for file in info.siblings or []]


def _only_checkpoint(files: list[str], repo: str, place: str) -> str:
    candidates = [name for name in files if "/" not in name and name.endswith(CHECKPOINT_SUFFIXES)]
    if CONFIG_FILE not in files and len(candidates) == 1:
        return candidates[0]
    listed = ", ".join(sorted(candidates or files)[:12]) + (", …" if len(candidates or files) > 12 else "")
    problem = f"there is {CONFIG_FILE}, but none of {', '.join(WEIGHTS)}" if CONFIG_FILE in files else f"there is no {CONFIG_FILE}"
    raise UpstreamError(f"{place}: {problem}; it has: {listed or 'no files'}; name one as -k {repo}/FILE")


def _cached(repo: str, file: str, revision: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repo, file, revision=revision)
    return Path(path) if isinstance(path, str) else None


def _cached_encoder(repo: str, revision: str) -> Path | None:
    """The folder of a commit when its weights are all in the cache."""
    config = _cached(repo, CONFIG_FILE, revision)
    weights = weights_among([name for name in WEIGHTS if (config.parent / name).is_file()]) if config else None
    if config is None or weights is None:
        return None
    return config.parent if all((config.parent / name).is_file() for name in shards(config.parent / weights)) else None


def _instead(cached: Path | None, error: Exception, place: str) -> Path:
    """What the cache has when the hub gives nothing."""
    if cached is None:
        raise error
    if not _is_offline():
        logger.warning("%s: not to be had (%s); the copy in the cache is used", place, _in_short(error))
    return cached


def _verify(path: Path, expected: str, place: str) -> None:
    """Hash a downloaded file; a wrong one leaves the cache."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != expected:
        blob = path.resolve()
        path.unlink()
        blob.unlink(missing_ok=True)
        raise UpstreamError(f"{place}: the download has sha256 {digest.hexdigest()}, expected {expected}; it was deleted: try again")


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT")


def _is_offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _refuse_offline() -> None:
    from huggingface_hub.errors import OfflineModeIsEnabled

    if _is_offline():
        raise OfflineModeIsEnabled("HF_HUB_OFFLINE is set")


@contextmanager
def _one_clear_error(place: str, repo: str, by_user: bool) -> Iterator[None]:
    try:
        yield
    except UpstreamError:
        raise
    except Exception as error:  # noqa: BLE001 - the HTTP client's errors share no public base
        problem, remedy = _explained(error, repo, by_user)
        raise UpstreamError(f"{place}: {problem}; {f'{remedy}, or ' if remedy else ''}{REMEDY}") from None


def _explained(error: Exception, repo: str, by_user: bool) -> tuple[str, str]:
    """What went wrong, and what to do about it, "" where nothing is known; only a user who named the repository can name a file."""
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        return f"it is gated (HTTP {status})", "accept its conditions on its page and set HF_TOKEN to a token of that account"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "there is no such public repository", "set HF_TOKEN for a private one"
    if isinstance(error, errors.RevisionNotFoundError):
        return "the repository has no such branch, tag or commit", ""
    if isinstance(error, errors.OfflineModeIsEnabled):
        single = f", name a single file as -k {repo}/FILE" if by_user else ""
        return "HF_HUB_OFFLINE is set and the cache has not all of it", f"unset it once{single}"
    if isinstance(error, errors.LocalEntryNotFoundError):
        return "the hub cannot be reached and the file is not in the cache", ""
    if isinstance(error, errors.EntryNotFoundError):
        return "the repository has no such file", f"name one as -k {repo}/FILE" if by_user else ""
    if status in (401, 403):
        return f"the hub refuses access (HTTP {status})", "set HF_TOKEN to a token that may read it"
    return f"it could not be fetched ({_in_short(error)})", ""


def _in_short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
