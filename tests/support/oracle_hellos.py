"""The oracle's half for TLS hellos and JA4, by slices and hashlib."""

from __future__ import annotations

import hashlib

VERSIONS = {0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3", 0x0002: "s2"}


def numbers(data):
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data) - 1, 2)]


def without_grease(values):
    return [value for value in values if not (value & 0x0F0F == 0x0A0A and value >> 8 == value & 0xFF)]


def extensions_of(data):
    """Return ``(pairs of kind and content, whether the last ends where the data ends)``."""
    pairs, at = [], 0
    while at + 4 <= len(data):
        kind, length = numbers(data[at : at + 4])
        pairs.append((kind, data[at + 4 : at + 4 + length]))
        at += 4 + length
    return pairs, at == len(data)


def host_name(content):
    names = content[2:]
    while len(names) >= 3:
        size = int.from_bytes(names[1:3], "big")
        if names[0] == 0:
            return names[3 : 3 + size] if len(names) >= 3 + size else None
        names = names[3 + size :]
    return None


def protocols(content):
    found, rest = [], content[2:]
    while rest and len(rest) > rest[0]:
        found.append(rest[1 : 1 + rest[0]])
        rest = rest[1 + rest[0] :]
    return found


def read_hello(message, row, *, letter="t"):
    """Read what there is of a ClientHello or ServerHello."""
    if len(message) < 4:
        return
    length = 4 + int.from_bytes(message[1:4], "big")
    reader = {1: read_client, 2: read_server}.get(message[0])
    if reader is not None:
        reader(message[:length], len(message) >= length, row, letter)


def read_client(hello, whole, row, letter):
    if len(hello) <= 38:
        return
    at = 39 + hello[38]
    if at + 2 > len(hello):
        return
    size = int.from_bytes(hello[at : at + 2], "big")
    suites = hello[at + 2 : at + 2 + size]
    ciphers = without_grease(numbers(suites))
    at += 2 + size
    if at + 1 > len(hello):
        return
    at += 1 + hello[at]
    extra = hello[at + 2 : at + 2 + int.from_bytes(hello[at : at + 2], "big")] if at + 2 <= len(hello) else b""
    pairs, exact = extensions_of(extra)
    exact = (exact and at + 2 <= len(hello)) or at == len(hello)
    pairs = [(kind, content) for kind, content in pairs if without_grease([kind])]
    first = {}
    for kind, content in pairs:
        first.setdefault(kind, content)
    if 0 in first and host_name(first[0]) is not None:
        row["tls_sni"] = host_name(first[0])[:8192]
    offered = next((found for kind, content in pairs if kind == 16 and (found := protocols(content))), [])
    if offered:
        row["tls_alpn"] = b",".join(offered)[:8192]
    if not whole:
        return
    last = dict(pairs)
    listed = last.get(43, b"")
    listed = without_grease(numbers(listed[1 : 1 + listed[0]])) if listed else []
    version = max(listed, default=0) or int.from_bytes(hello[4:6], "big")
    row["tls_version"] = version
    kinds = [kind for kind, _ in pairs]
    hashed = [kind for kind in kinds if kind not in (0, 16)]
    signatures = last.get(13)
    start = extra_offset(hello, extra, 13)
    algorithms = signatures_at(hello, start) if signatures is not None else b""
    if not exact or len(suites) // 2 > 256 or len(hashed) > 256 or len(algorithms) // 2 > 256:
        return
    alpn = next((content for kind, content in pairs if kind == 16), None)
    row["ja4"] = ja4(letter, version, kinds, ciphers, hashed, without_grease(numbers(algorithms)), ends(pairs, alpn))


def extra_offset(hello, extra, wanted):
    """Return where the last extension of a kind has its content."""
    at, found = len(hello) - len(extra) if hello.endswith(extra) else hello.index(extra), -1
    stop = at + len(extra)
    while at + 4 <= stop:
        kind, length = numbers(hello[at : at + 4])
        found = at + 4 if kind == wanted else found
        at += 4 + length
    return found


def signatures_at(hello, at):
    if at + 2 > len(hello):
        return b""
    return hello[at + 2 : at + 2 + int.from_bytes(hello[at : at + 2], "big")]


def ends(pairs, _):
    """First and last character of the first protocol name: of the first ALPN extension that has names."""
    result = "00"
    for kind, content in pairs:
        if kind != 16:
            continue
        name = content[3 : 3 + content[2]] if len(content) > 2 else b""
        if name and len(content) >= 3 + content[2]:
            plain = all(chr(letter).isalnum() and letter < 128 for letter in (name[0], name[-1]))
            result = chr(name[0]) + chr(name[-1]) if plain else name[:1].hex()[0] + name[-1:].hex()[1]
        if protocols(content):
            break
    return result


def hashed_list(*lists):
    text = "_".join(",".join(f"{value:04x}" for value in values) for values in lists)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def ja4(letter, version, kinds, ciphers, hashed, algorithms, alpn):
    lists = (sorted(hashed), algorithms) if algorithms else (sorted(hashed),)
    return (
        f"{letter}{VERSIONS.get(version, '00')}{'d' if 0 in kinds else 'i'}{min(len(ciphers), 99):02}"
        f"{min(len(kinds), 99):02}{alpn}_{hashed_list(sorted(ciphers)) if ciphers else '0' * 12}"
        f"_{hashed_list(*lists) if hashed else '0' * 12}"
    ).encode()


def read_server(hello, _, row, _letter):
    if len(hello) <= 38:
        return
    at = 39 + hello[38]
    if at + 3 > len(hello):
        return
    row |= {"tls_cipher": int.from_bytes(hello[at : at + 2], "big"), "tls_version": int.from_bytes(hello[4:6], "big")}
    size = int.from_bytes(hello[at + 3 : at + 5], "big") if at + 5 <= len(hello) else 0
    for kind, content in extensions_of(hello[at + 5 : at + 5 + size])[0]:
        if kind == 43 and len(content) >= 2:
            row["tls_version"] = int.from_bytes(content[:2], "big")
        elif kind == 16 and "tls_alpn" not in row and protocols(content):
            row["tls_alpn"] = b",".join(protocols(content))
