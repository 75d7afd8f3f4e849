"""Columns as a person reads them: addresses as text, time as whole nanoseconds, words as words."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streamgauge import schema
from streamgauge.schema import Kind

_MAPPED: Final = bytes(10) + b"\xff\xff"


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
    packed = encoded.dictionary.to_pylist()
    texts = [address_text(value) for value in packed]
    mapped = np.fromiter((value.startswith(_MAPPED) for value in packed), np.bool_, len(packed))
    indices = encoded.indices
    if mapped.any() and pc.any(pc.equal(versions, 6)).as_py():
        codes = indices.fill_null(0).to_numpy()
        odd = mapped[codes] & pc.equal(versions, 6).fill_null(False).to_numpy(zero_copy_only=False)
        if odd.any():
            # Such an address gets a second entry behind the others.
            second = len(packed) + np.cumsum(mapped) - 1
            texts += [f"::ffff:{text}" for text, is_mapped in zip(texts, mapped, strict=True) if is_mapped]
            codes = np.where(odd, second[codes], codes).astype(np.int32)
            indices = pa.array(codes, pa.int32(), mask=indices.is_null().to_numpy(zero_copy_only=False))
    return pa.DictionaryArray.from_arrays(indices, pa.array(texts, pa.string()))


def hardware_addresses(column: pa.Array) -> pa.DictionaryArray:
    """Return a column of six-byte hardware addresses as ``aa:bb:cc:dd:ee:ff``, encoded by dictionary."""
    encoded = column.dictionary_encode()
    return pa.DictionaryArray.from_arrays(
        encoded.indices, pa.array([value.hex(":") for value in encoded.dictionary.to_pylist()], pa.string())
    )


def readable(batch: pa.RecordBatch, *, time_as_integer: bool = True) -> pa.RecordBatch:
    """Return a batch as text output shows it: all columns of ``schema.NAMES``, addresses as text."""
    metadata = batch.schema.metadata or {}
    arrays: list[pa.Array] = []
    for column in schema.COLUMNS:
        values = batch.column(column.name)
        if column.kind is Kind.IP:
            values = addresses(values, batch.column("ip_version"))
        elif column.kind is Kind.MAC:
            values = hardware_addresses(values)
        elif column.kind is Kind.TIME and time_as_integer:
            values = values.view(pa.int64())
        arrays.append(values)
    for name in schema.ORIGIN_COLUMNS:
        origin = metadata.get(f"streamgauge.{name}".encode(), b"").decode()
        arrays.append(pa.DictionaryArray.from_arrays(pa.array([0] * len(batch), pa.int8()), pa.array([origin])))
    return pa.RecordBatch.from_arrays(arrays, names=list(schema.NAMES))
