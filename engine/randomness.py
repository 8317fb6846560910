"""Keyed randomness: every draw comes from (seed, what it is for), never from what ran before in the process."""

from __future__ import annotations

import hashlib

import torch


def seed_all(*key: int | str) -> None:
    """Seed torch's generators, those of every GPU in use included, with a hash of the key: (seed, step, micro-batch), say.

    `torch.manual_seed` does the same and, where no GPU is in use yet, keeps a record of each call for later, which costs more than a
    small head's forward and is never freed.
    """
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    seed = int.from_bytes(digest[:8], "little") >> 1
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
