"""Keyed randomness: every draw comes from (seed, what it is for), never from what ran before in the process."""

from __future__ import annotations

import hashlib

import torch


def seed_all(*key: int | str) -> None:
    """Seed torch's generators, those of every device included, with a hash of the key: (seed, step, micro-batch), say."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little") >> 1)
