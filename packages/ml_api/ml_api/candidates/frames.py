"""Frames between processes: a JSON header and a payload, each with its length."""

from __future__ import annotations

import socket
from struct import Struct
from typing import Any

import msgspec

_LENGTHS = Struct("!II")
#: Bytes that are received at a time.
_PIECE = 256 * 1024


def send(sock: socket.socket, header: Any, payload: bytes | bytearray = b"") -> None:
    """Send a frame on a stream socket, within its timeout.

    Raises:
        OSError: the other side is gone, or does not receive.
    """
    text = msgspec.json.encode(header)
    sock.sendall(b"".join((_LENGTHS.pack(len(text), len(payload)), text, payload)))


class Receiver:
    """Reassembles frames from a stream socket.

    Args:
        sock: with a timeout, blocking or not.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self._data = sock, bytearray()

    def receive(self) -> tuple[Any, bytes] | None:
        """Return the next frame; ``None`` if it is not whole yet, on a socket that does not block.

        Raises:
            OSError: the other side is gone, or sends nothing in time.
        """
        while (frame := self._next()) is None:
            try:
                piece = self._sock.recv(_PIECE)
            except BlockingIOError:
                return None
            if not piece:
                raise ConnectionResetError
            self._data += piece
        return frame

    def _next(self) -> tuple[Any, bytes] | None:
        data, head = self._data, _LENGTHS.size
        if len(data) < head:
            return None
        n_header, n_payload = _LENGTHS.unpack_from(data)
        end = head + n_header + n_payload
        if len(data) < end:
            return None
        header = msgspec.json.decode(bytes(data[head : head + n_header]))
        payload = bytes(data[head + n_header : end])
        del data[:end]
        return header, payload
