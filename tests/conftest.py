"""What every test runs under: a cache of its own, no network, few threads."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
THREADS = "1"  # two wait for each other on a busy machine

IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
CACHE = os.environ["WEIR_CACHE"] if IS_WORKER else tempfile.mkdtemp(prefix="weir-test-cache-")
"""One cache a session: parallel workers inherit it, so that demo corpora are spoken once."""

os.environ["WEIR_CACHE"] = CACHE
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.pop("WEIR_DATA", None)
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1" if IS_WORKER else THREADS

_connect = socket.socket.connect


def _connect_locally(self: socket.socket, address: Any) -> None:
    """`socket.connect` that refuses to leave this machine."""
    if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_local(str(address[0])):
        raise RuntimeError(f"a test tried to reach {address[0]}: tests use no network")
    _connect(self, address)


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def pytest_configure(config: pytest.Config) -> None:
    socket.socket.connect = _connect_locally  # type: ignore[method-assign]


def pytest_unconfigure(config: pytest.Config) -> None:
    socket.socket.connect = _connect  # type: ignore[method-assign]
    if not IS_WORKER:
        shutil.rmtree(CACHE, ignore_errors=True)


@pytest.fixture
def repository() -> Path:
    """The folder that holds this checkout."""
    return ROOT
