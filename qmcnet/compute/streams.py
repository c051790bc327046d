"""Seeds of random numbers that have nothing to do with one another."""

import hashlib


def stream(seed: int, purpose: str, attempt: int = 0) -> int:
    """Make a seed for a purpose out of the seed of a run.

    Neighbouring seeds, purposes and attempts give unrelated ones: it is a hash, the same on every machine and with
    every version of Python and torch.

    Args:
        seed: seed of the run.
        purpose: what the numbers are for, in words.
        attempt: number of the attempt, where one thing is tried several times.

    Returns:
        A whole number of 63 bits, as generators take.
    """
    text = f"{seed}\n{purpose}\n{attempt}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1
