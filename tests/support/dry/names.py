"""The cluster's DNS, as much of it as programs ask for: A records of Services and of the pods behind them."""

from __future__ import annotations

import socket
import struct
import threading
from typing import TYPE_CHECKING, Final, Self

from tests.support.dry.namespaces import socket_in

if TYPE_CHECKING:
    from collections.abc import Callable

_HEADER: Final = struct.Struct("!6H")
_A, _IN, _NAME_ERROR = 1, 1, 3
#: Seconds a client may believe an answer.
_TTL: Final = 1


class NameServer:
    """Answers on one address of a namespace; ``look_up`` gives a name's addresses, or None if there is no such name."""

    def __init__(self, namespace: str, address: str, look_up: Callable[[str], list[str] | None]) -> None:
        self._socket = socket_in(namespace, socket.SOCK_DGRAM)
        self._socket.bind((address, 53))
        self._socket.settimeout(0.2)
        self._look_up = look_up
        self._over = False
        self._thread = threading.Thread(target=self._serve, name="dns", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over = True
        self._thread.join(5)
        self._socket.close()

    def _serve(self) -> None:
        while not self._over:
            try:
                query, client = self._socket.recvfrom(512)
                self._socket.sendto(self._answer(query), client)
            except (OSError, ValueError, IndexError, struct.error):
                continue  # nobody asked, or what they asked is no question

    def _answer(self, query: bytes) -> bytes:
        number, *_rest = _HEADER.unpack_from(query)
        labels, position = [], _HEADER.size
        while query[position]:
            end = position + 1 + query[position]
            labels.append(query[position + 1 : end].decode())
            position = end
        question = query[_HEADER.size : position + 5]
        (kind,) = struct.unpack_from("!H", query, position + 1)
        addresses = self._look_up(".".join(labels).lower())
        found = addresses if addresses and kind == _A else []
        flags = 0x8580 | (_NAME_ERROR if addresses is None else 0)
        records = b"".join(
            struct.pack("!HHHLH4s", 0xC00C, _A, _IN, _TTL, 4, socket.inet_aton(address)) for address in found
        )
        return _HEADER.pack(number, flags, 1, len(found), 0, 0) + question + records
