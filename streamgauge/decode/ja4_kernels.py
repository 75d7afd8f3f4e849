"""JA4, the fingerprint of a TLS client (FoxIO, https://github.com/FoxIO-LLC/ja4, technical_details/JA4.md).

``t13d1516h2_8daaf6152771_e5627efa2ab1``: transport, version, server name or not, numbers of cipher suites and
extensions, first and last character of the first ALPN; then hashes of the sorted cipher suites, and of the sorted
extensions with the signature algorithms. GREASE values (RFC 8701) count nowhere.
"""

from __future__ import annotations

# mypy: ignore-errors
# (Numba types kernels when it compiles them.)
from streamgauge.decode.accelerate import inner
from streamgauge.decode.fingerprints import HEAD, LENGTH, MAX_REMEMBERED, REMEMBERED
from streamgauge.decode.load_kernels import signed
from streamgauge.decode.sha256_kernels import digest_start
from streamgauge.decode.text_kernels import keep_bytes
from streamgauge.schema import SLOTS

JA4 = SLOTS["ja4"]

# Elements of the head of ``Fingerprints.words``.
TRANSPORT, VERSION, SERVER_NAME, CIPHER_COUNT, EXTENSION_COUNT, ALPN_FIRST, ALPN_LAST = 0, 1, 2, 3, 4, 5, 6
#: Lengths of the three lists that follow.
CIPHERS, EXTENSIONS, ALGORITHMS = 7, 8, 9

ZERO, COMMA, UNDERSCORE = 0x30, 0x2C, 0x5F
LETTER_D, LETTER_I, LETTER_S = 0x64, 0x69, 0x73


@inner
def is_grease(value):
    """Tell whether a value is one of the sixteen that RFC 8701 reserves to be ignored."""
    return value & 0x0F0F == 0x0A0A and value >> 8 == value & 0xFF


@inner
def sort(words, first, last):
    """Sort a short list in place; most clients send it nearly sorted."""
    for place in range(first + 1, last):
        value = words[place]
        at = place
        while at > first and words[at - 1] > value:
            words[at] = words[at - 1]
            at -= 1
        words[at] = value


@inner
def digit(value):
    """Return a hexadecimal digit in lower case."""
    return ZERO + value if value < 10 else 0x61 + value - 10


@inner
def is_alphanumeric(letter):
    """Tell whether a byte is an ASCII letter or digit."""
    return ZERO <= letter <= 0x39 or 0x41 <= letter <= 0x5A or 0x61 <= letter <= 0x7A


@inner
def write_list(text, at, words, first, last):
    """Write words as four digits each, comma-separated; return the offset behind."""
    for place in range(first, last):
        if place > first:
            text[at] = COMMA
            at += 1
        for shift in range(4):
            text[at + shift] = digit((words[place] >> (12 - 4 * shift)) & 0xF)
        at += 4
    return at


@inner
def write_hash(known, at, start, empty):
    """Write an underscore and twelve digits of a digest, zeros where there was nothing to hash."""
    known[at] = UNDERSCORE
    for place in range(12):
        known[at + 1 + place] = ZERO if empty else digit((start >> (44 - 4 * place)) & 0xF)


@inner
def write_head(known, words):
    """Write the readable part."""
    version = words[VERSION]
    known[0] = words[TRANSPORT]
    known[1], known[2] = ZERO, ZERO
    if 0x0301 <= version <= 0x0304:
        known[1], known[2] = ZERO + 1, ZERO + version - 0x0301
    elif version == 0x0300 or version == 0x0002:
        known[1], known[2] = LETTER_S, ZERO + (3 if version == 0x0300 else 2)
    known[3] = LETTER_D if words[SERVER_NAME] else LETTER_I
    ciphers, extensions = min(words[CIPHER_COUNT], 99), min(words[EXTENSION_COUNT], 99)
    known[4], known[5] = ZERO + ciphers // 10, ZERO + ciphers % 10
    known[6], known[7] = ZERO + extensions // 10, ZERO + extensions % 10
    known[8], known[9] = words[ALPN_FIRST], words[ALPN_LAST]


@inner
def compute(known, prints):
    """Write the fingerprint of ``prints.words``."""
    words, text = prints.words, prints.text
    write_head(known, words)
    ciphers = HEAD + words[CIPHERS]
    extensions = ciphers + words[EXTENSIONS]
    algorithms = extensions + words[ALGORITHMS]
    length = write_list(text, 0, words, HEAD, ciphers)
    write_hash(known, 10, digest_start(text, length, prints.schedule, prints.state), length == 0)
    length = write_list(text, 0, words, ciphers, extensions)
    empty = length == 0
    if algorithms > extensions:
        text[length] = UNDERSCORE
        length = write_list(text, length + 1, words, extensions, algorithms)
    write_hash(known, 23, digest_start(text, length, prints.schedule, prints.state), empty)


@inner
def same_words(known, words, length):
    """Compare with what is remembered."""
    for place in range(length):
        if known[place] != words[place]:
            return False
    return True


@inner
def keep_fingerprint(prints, rows, row):
    """Write the column ``ja4`` for the ClientHello in ``prints.words``, computing it if it is new."""
    words = prints.words
    length = HEAD + words[CIPHERS] + words[EXTENSIONS] + words[ALGORITHMS]
    place = 0
    for at in range(length):
        place = (place * 31 + words[at]) & 0x7FFFFFFF
    place = (place ^ (place >> 12)) & (REMEMBERED - 1)
    known = prints.known_text[place]
    if length > MAX_REMEMBERED:
        prints.known_length[place] = 0
        compute(known, prints)
    elif prints.known_length[place] != length or not same_words(prints.known_words[place], words, length):
        for at in range(length):
            prints.known_words[place, at] = words[at]
        prints.known_length[place] = length
        compute(known, prints)
    keep_bytes(known, signed(0), LENGTH, rows, row, JA4)
