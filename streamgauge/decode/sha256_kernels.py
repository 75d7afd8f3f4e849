"""SHA-256 (FIPS 180-4), as far as a fingerprint needs it: the first twelve hexadecimal digits of a digest.

In a kernel because a ClientHello comes every hundred packets: a call from Python for each would cost more than all of
the decoding between them.
"""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from math import isqrt

import numpy as np

from streamgauge.decode.accelerate import inner
from streamgauge.decode.load_kernels import load32

WORD = 0xFFFFFFFF
BLOCK = 64
#: Bytes behind a text that padding may need.
PADDING = 72


def _primes(count):
    found = []
    candidate = 2
    while len(found) < count:
        if all(candidate % prime for prime in found):
            found.append(candidate)
        candidate += 1
    return found


def _cube_root_bits(prime):
    """Return the first 32 bits of the fraction of a cube root, by bisection on whole numbers."""
    low, high = 0, prime << 32
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**3 <= prime << 96 else (low, middle - 1)
    return low & WORD


#: Fractions of the square and cube roots of the first primes (5.3.3, 4.2.2).
INITIAL = np.array([isqrt(prime << 64) & WORD for prime in _primes(8)], np.int64)
ROUNDS = np.array([_cube_root_bits(prime) for prime in _primes(64)], np.int64)


@inner
def rotate(word, count):
    """Rotate a 32-bit word to the right."""
    return ((word >> count) | (word << (32 - count))) & WORD


@inner
def pad(text, length):
    """Append the padding of 5.1.1 in place; return the padded length."""
    padded = (length + 8) // BLOCK * BLOCK + BLOCK
    for at in range(length, padded):
        text[at] = 0
    text[length] = 0x80
    bits = length * 8
    for at in range(4):
        text[padded - 1 - at] = (bits >> (8 * at)) & 0xFF
    return padded


@inner
def schedule_block(text, at, words):
    """Expand a block into 64 words (6.2.2, step 1)."""
    for number in range(16):
        words[number] = load32(text, at + 4 * number)
    for number in range(16, 64):
        early, late = words[number - 15], words[number - 2]
        early = rotate(early, 7) ^ rotate(early, 18) ^ (early >> 3)
        late = rotate(late, 17) ^ rotate(late, 19) ^ (late >> 10)
        words[number] = (words[number - 16] + early + words[number - 7] + late) & WORD


@inner
def digest_start(text, length, words, state):
    """Return the first 48 bits of the digest of ``text[:length]``; behind it there is room for the padding.

    ``words`` (64) and ``state`` (8) are scratch.
    """
    for number in range(8):
        state[number] = INITIAL[number]
    for at in range(0, pad(text, length), BLOCK):
        schedule_block(text, at, words)
        a, b, c, d = state[0], state[1], state[2], state[3]
        e, f, g, h = state[4], state[5], state[6], state[7]
        for number in range(64):
            choice = (e & f) ^ (~e & WORD & g)
            first = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + choice + ROUNDS[number] + words[number]
            majority = (a & b) ^ (a & c) ^ (b & c)
            second = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + majority
            h, g, f, e = g, f, e, (d + first) & WORD
            d, c, b, a = c, b, a, (first + second) & WORD
        state[0], state[1] = (state[0] + a) & WORD, (state[1] + b) & WORD
        state[2], state[3] = (state[2] + c) & WORD, (state[3] + d) & WORD
        state[4], state[5] = (state[4] + e) & WORD, (state[5] + f) & WORD
        state[6], state[7] = (state[6] + g) & WORD, (state[7] + h) & WORD
    return (state[0] << 16) | (state[1] >> 16)
