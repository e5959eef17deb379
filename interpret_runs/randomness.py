"""Random numbers that depend on a run's seed and on nothing else."""

from hashlib import sha256

import torch


def generator(seed: int, purpose: str) -> torch.Generator:
    """A CPU generator keyed by (`seed`, `purpose`).

    Each purpose ("start", "transform", ...) is a stream of its own, so neither the batch, the device
    nor what another purpose draws changes its numbers.
    """
    key = sha256(f"{seed}:{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(key[:8], "big") >> 1)
