"""Columns as a person reads them: addresses as text, time as whole nanoseconds, words as words."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from streamgauge import schema
from streamgauge.schema import Kind

_MAPPED: Final = bytes(10) + b"\xff\xff"
_MAPPED_BYTES: Final = np.frombuffer(_MAPPED, np.uint8)
#: What a byte is in the text of an address.
_DECIMAL: Final = schema.arrow_words([str(byte) for byte in range(256)])
_HEX: Final = schema.arrow_words([f"{byte:02x}" for byte in range(256)])


def printable(text: str) -> str:
    """Return text from the traffic so that it cannot steer a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def address_text(packed: bytes) -> str:
    """Return 16 packed bytes as text; IPv4-mapped addresses as IPv4 (``10.0.0.1``)."""
    if packed.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    return socket.inet_ntop(socket.AF_INET6, packed)


def address_bytes(text: str) -> bytes:
    """Return the 16 packed bytes of an address.

    Raises:
        ValueError: it is no IP address.

    """
    packed = ipaddress.ip_address(text).packed
    return packed if len(packed) == 16 else _MAPPED + packed


def addresses(column: pa.Array, versions: pa.Array) -> pa.DictionaryArray:
    """Return a column of packed addresses as text, encoded by dictionary.

    ``versions`` tells IPv4 from an IPv6 packet that carries an IPv4-mapped address (written ``::ffff:10.0.0.1``).
    """
    encoded = column.dictionary_encode()
    packed = _matrix(encoded.dictionary, 16)
    mapped: npt.NDArray[np.bool_] = (packed[:, :12] == _MAPPED_BYTES).all(axis=1)
    texts = _joined(packed[:, 12:], _DECIMAL, ".")
    if not mapped.all():
        six = [socket.inet_ntop(socket.AF_INET6, line.tobytes()) for line in packed[~mapped]]
        texts = pc.replace_with_mask(texts, pa.array(~mapped), pa.array(six, pa.string()))
    indices = encoded.indices
    six_rows = np.flatnonzero(versions.fill_null(0).to_numpy() == 6)
    if len(six_rows) and mapped.any():
        codes = indices.fill_null(0).to_numpy()
        odd = six_rows[mapped[codes[six_rows]]]
        if len(odd):
            # Such an address gets a second entry behind the others.
            second = len(packed) + np.cumsum(mapped) - 1
            texts = pa.concat_arrays(
                [texts, pc.binary_join_element_wise("::ffff:", texts.filter(pa.array(mapped)), "")]
            )
            codes = codes.copy()
            codes[odd] = second[codes[odd]]
            indices = pa.array(codes, pa.int32(), mask=indices.is_null().to_numpy(zero_copy_only=False))
    return pa.DictionaryArray.from_arrays(indices, texts)


def versions_of(column: schema.Column, versions: pa.Array) -> pa.Array:
    """Return the versions of a column of addresses, given the column ``ip_version``.

    That is of the inner header. Of the outer one nothing is known: what looks like an address of IPv4 is one (6in4).
    """
    return pa.nulls(len(versions), versions.type) if column.group == "tunnel" else versions


def hardware_addresses(column: pa.Array) -> pa.DictionaryArray:
    """Return a column of six-byte hardware addresses as ``aa:bb:cc:dd:ee:ff``, encoded by dictionary."""
    encoded = column.dictionary_encode()
    return pa.DictionaryArray.from_arrays(encoded.indices, _joined(_matrix(encoded.dictionary, 6), _HEX, ":"))


def _matrix(packed: pa.Array, width: int) -> npt.NDArray[np.uint8]:
    """Return an array of fixed-size binary as one line of bytes a value (a view)."""
    whole = np.frombuffer(packed.buffers()[1] or b"", np.uint8)
    return whole[packed.offset * width : (packed.offset + len(packed)) * width].reshape(-1, width)


def _joined(numbers: npt.NDArray[np.uint8], words: pa.Array, separator: str) -> pa.Array:
    """Return each line of bytes as words with a separator between them (70 ns an address instead of 500 one by one)."""
    return pc.binary_join_element_wise(*(words.take(pa.array(line)) for line in numbers.T), separator)


def readable(batch: pa.RecordBatch, *, time_as_integer: bool = True) -> pa.RecordBatch:
    """Return a batch as text output shows it: all columns of ``schema.NAMES``, addresses as text."""
    metadata = batch.schema.metadata or {}
    arrays: list[pa.Array] = []
    for column in schema.COLUMNS:
        values = batch.column(column.name)
        if column.kind is Kind.IP:
            values = addresses(values, versions_of(column, batch.column("ip_version")))
        elif column.kind is Kind.MAC:
            values = hardware_addresses(values)
        elif column.kind is Kind.TIME and time_as_integer:
            values = values.view(pa.int64())
        arrays.append(values)
    for name in schema.ORIGIN_COLUMNS:
        origin = metadata.get(f"streamgauge.{name}".encode(), b"").decode()
        arrays.append(pa.DictionaryArray.from_arrays(pa.array([0] * len(batch), pa.int8()), pa.array([origin])))
    return pa.RecordBatch.from_arrays(arrays, names=list(schema.NAMES))
