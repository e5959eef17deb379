"""Random numbers that depend on a run's seed and on nothing else."""

from collections.abc import Sequence
from hashlib import sha256
from math import pi, prod

import torch
from torch import Tensor

_WORD = 2**32 - 1  # 32 bits
_BITS = 24  # of a uniform number: what float32 holds exactly


def generator(seed: int, purpose: str) -> torch.Generator:
    """A CPU generator keyed by (`seed`, `purpose`).

    Each purpose ("start", "transform", ...) is a stream of its own, so neither the batch, the device
    nor what another purpose draws changes its numbers.
    """
    key = sha256(f"{seed}:{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(key[:8], "big") >> 1)


def noise(keys: Tensor, shape: Sequence[int]) -> Tensor:
    """Standard normal numbers, (B, *shape), made from whole numbers `keys`, (B,), where these are.

    Number j of row i is a hash of ``(keys[i], j)``, so neither the batch nor the device changes it (the
    device's rounding apart), no state is kept, and nothing passes between host and device. The dtype is
    that of `keys`, which holds them exactly up to 2**24 in float32; torch's default for integers.
    """
    count = prod(shape)
    pairs = (count + 1) // 2
    key = keys.to(torch.int64)[:, None] & _WORD
    counter = torch.arange(2 * pairs, device=keys.device)
    # Two rounds, each with a word of its own from the key: one alone gives keys whose rows are shuffles of each other.
    bits = _mixed(_mixed(counter ^ _mixed(key)) ^ _mixed(key ^ 0x5BD1E995)) >> (32 - _BITS)
    uniform = bits.to(keys.dtype if keys.is_floating_point() else torch.get_default_dtype())
    radius = ((uniform[:, :pairs] + 1) / 2**_BITS).log().mul(-2).sqrt()  # Box and Muller (1958)
    angle = uniform[:, pairs:] * (2 * pi / 2**_BITS)
    return torch.cat([radius * angle.cos(), radius * angle.sin()], 1)[:, :count].reshape(-1, *shape)


def _mixed(word: Tensor) -> Tensor:
    """A permutation of the 32-bit numbers in which each bit of `word` flips about half of the others.

    Shifts and multipliers are those of C. Wellons' search for the least biased; both multipliers stay below
    2**31, so that no product leaves int64.
    """
    word = (word ^ (word >> 16)) * 0x21F0AAAD & _WORD
    word = (word ^ (word >> 15)) * 0x735A2D97 & _WORD
    return word ^ (word >> 15)


def sample_keys(seed: int, purpose: str, count: int) -> Tensor:
    """Keys for `randomness.noise`, (count,), on the CPU; more of them begin as fewer do."""
    return torch.randint(2**32, (count,), generator=generator(seed, purpose))
