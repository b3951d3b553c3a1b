"""Texts and numbers in, one 64-bit hash of each out: SipHash-2-4 and a finaliser, the same on every machine and always.

The numbers are those of `pandas.util.hash_array`, of which logs hold sums, without its import and its cost for a few values.
https://www.aumasson.jp/siphash/siphash.pdf
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Final

import numpy as np
from numba import njit, uint64
from numpy.typing import NDArray

from features.arrays import ByteArray, FloatArray, IntArray

HashArray = NDArray[np.uint64]

_KEY: Final = b"0123456789123456"
_K0: Final = np.uint64(int.from_bytes(_KEY[:8], "little"))
_K1: Final = np.uint64(int.from_bytes(_KEY[8:], "little"))
_V0: Final = np.uint64(0x736F6D6570736575)
_V1: Final = np.uint64(0x646F72616E646F6D)
_V2: Final = np.uint64(0x6C7967656E657261)
_V3: Final = np.uint64(0x7465646279746573)


def hash_texts(texts: Sequence[str]) -> HashArray:
    """One hash per text, (n,)."""
    encoded = [text.encode() for text in texts]
    ends = np.fromiter(accumulate(map(len, encoded), initial=0), np.int64, len(encoded) + 1)
    return hash_bytes(np.frombuffer(b"".join(encoded), np.uint8), ends)


def hash_numbers(numbers: IntArray | FloatArray) -> HashArray:
    """One hash per number of eight bytes, (n,)."""
    # writeable, whatever Arrow hands over: for each sort of array numba would compile another function
    hashes: HashArray = _finalise(np.require(numbers.view(np.uint64), requirements="W"))
    return hashes


@njit(cache=True)
def hash_bytes(data: ByteArray, ends: IntArray) -> HashArray:
    """One hash per text of UTF-8; text i is data[ends[i] : ends[i + 1]], as Arrow has it."""
    hashes = np.empty(len(ends) - 1, np.uint64)
    for place in range(len(hashes)):
        hashes[place] = _siphash(data, ends[place], ends[place + 1])
    return _finalise(hashes)


@njit(cache=True)
def _finalise(numbers: HashArray) -> HashArray:
    """The finaliser of SplitMix64."""
    hashes = np.empty(len(numbers), np.uint64)
    for place in range(len(numbers)):
        h = uint64(numbers[place])
        h ^= h >> uint64(30)
        h *= uint64(0xBF58476D1CE4E5B9)
        h ^= h >> uint64(27)
        h *= uint64(0x94D049BB133111EB)
        hashes[place] = h ^ (h >> uint64(31))
    return hashes


@njit(cache=True)
def _siphash(data: ByteArray, begin: int, end: int) -> np.uint64:
    v0, v1, v2, v3 = _V0 ^ _K0, _V1 ^ _K1, _V2 ^ _K0, _V3 ^ _K1
    n_words = (end - begin) // 8
    for word in range(n_words):
        m = _little_endian(data, begin + 8 * word, 8)
        v0, v1, v2, v3 = _round(*_round(v0, v1, v2, v3 ^ m))
        v0 ^= m
    m = _little_endian(data, begin + 8 * n_words, (end - begin) % 8) | (uint64(end - begin) << uint64(56))
    v0, v1, v2, v3 = _round(*_round(v0, v1, v2, v3 ^ m))
    v0, v2 = v0 ^ m, v2 ^ uint64(0xFF)
    v0, v1, v2, v3 = _round(*_round(*_round(*_round(v0, v1, v2, v3))))
    return v0 ^ v1 ^ v2 ^ v3


@njit(cache=True)
def _little_endian(data: ByteArray, begin: int, n_bytes: int) -> np.uint64:
    number = uint64(0)
    for place in range(n_bytes):
        number |= uint64(data[begin + place]) << uint64(8 * place)
    return number


@njit(cache=True)
def _round(
    v0: np.uint64, v1: np.uint64, v2: np.uint64, v3: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    v0 += v1
    v2 += v3
    v1 = _rotated(v1, 13) ^ v0
    v3 = _rotated(v3, 16) ^ v2
    v0 = _rotated(v0, 32) + v3
    v2 += v1
    v1 = _rotated(v1, 17) ^ v2
    v3 = _rotated(v3, 21) ^ v0
    return v0, v1, _rotated(v2, 32), v3


@njit(cache=True)
def _rotated(word: np.uint64, bits: int) -> np.uint64:
    return (word << uint64(bits)) | (word >> uint64(64 - bits))
