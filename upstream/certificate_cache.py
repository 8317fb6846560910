"""Certificates in the user's cache: kept with what they were measured of, and forgotten once that has changed. Imports no PyTorch."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import uuid
from collections.abc import Collection, Iterable
from functools import cache
from pathlib import Path

from upstream import cards
from upstream.cache import cache_dir
from upstream.certificate import Certificate

LIBRARIES = ("torch", "torchaudio", "transformers", "s3prl")


def keep(certificate: Certificate, checkpoint: Path | None) -> None:
    """Write a certificate, in place of an older one of the same name and weights.

    Raises:
        OSError: the cache cannot be written.
    """
    files = sorted(checkpoint.iterdir()) if checkpoint and checkpoint.is_dir() else [checkpoint] if checkpoint else []
    content = {"code": _code(), "files": _stamps(path.absolute() for path in files), "certificate": certificate.as_json()}
    name = hashlib.sha256(f"{certificate.name} {certificate.weights}".encode()).hexdigest()[:20]
    _folder().mkdir(parents=True, exist_ok=True)
    unfinished = _folder() / f".{uuid.uuid4().hex}"
    unfinished.write_text(json.dumps(content), encoding="utf-8")
    unfinished.replace(_folder() / f"{name}.json")


def kept(name: str, weights: Collection[str]) -> Certificate | None:
    """The newest certificate of a registered name and any of these weights, whose checkpoint and code are what they were."""
    newest_first = sorted(_folder().glob("*.json"), key=lambda record: record.stat().st_mtime_ns, reverse=True)
    found = (certificate for record in newest_first if (certificate := _read(record)))
    return next((certificate for certificate in found if certificate.name == name and certificate.weights in weights), None)


def _read(record: Path) -> Certificate | None:
    """What was kept; None where it is out of date or damaged, both of which a new measurement mends."""
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        unchanged = content["code"] == _code() and content["files"] == _stamps(map(Path, content["files"]))
        return Certificate.from_json(content["certificate"]) if unchanged else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _folder() -> Path:
    """Inside the cache folder."""
    return cache_dir() / "certificates"


def _stamps(files: Iterable[Path]) -> dict[str, list[int] | None]:
    """Size and time of the last change of each file; None where it is gone."""
    return {str(path): [path.stat().st_size, path.stat().st_mtime_ns] if path.exists() else None for path in files}


@cache
def _code() -> str:
    """A sha256 over what else decides a certificate: the encoders' sources and cards, and the versions of the libraries."""
    digest = hashlib.sha256()
    for path in [*sorted(Path(__file__).parent.rglob("*.py")), *sorted(cards.FOLDER.glob("*.yaml"))]:
        digest.update(path.read_bytes())
    for library in LIBRARIES:
        try:
            digest.update(f"{library} {importlib.metadata.version(library)}".encode())
        except importlib.metadata.PackageNotFoundError:
            digest.update(f"{library} is missing".encode())
    return digest.hexdigest()
