"""Make one independent random stream for each name; a new stream does not change the numbers of other streams."""

import hashlib

import numpy as np


def seed_for(seed: int, *names: object) -> int:
    """Return a 63-bit seed that depends only on `seed` and the names, and is the same on every machine.

    >>> seed_for(0, "order", 3) == seed_for(0, "order", 3) != seed_for(0, "order", 4)
    True
    """
    text = "\x1f".join([str(int(seed)), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *names: object) -> np.random.Generator:
    """Return the random generator for this seed and these names."""
    return np.random.default_rng(seed_for(seed, *names))
