"""The program of a listener with TLS and SASL PLAIN in front of librdkafka's mock cluster, which has neither.

  kafka_secured.py CLUSTER CERTIFICATE KEY USER PASSWORD

Each connection is decrypted and has to name the user before anything else of it reaches the cluster. The cluster's
address, which it tells its clients, is replaced by that of the listener.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
import sys
from asyncio import IncompleteReadError, StreamReader, StreamWriter

#: Keys of the protocol's requests: https://kafka.apache.org/protocol#protocol_api_keys
API_VERSIONS, SASL_HANDSHAKE, SASL_AUTHENTICATE = 18, 17, 36
SASL_AUTHENTICATION_FAILED = 58


class _Proxy:
    """Passes connections on.

    Args:
        servers: address of the cluster's only broker.
        user: who may connect.
        password: of the user.
    """

    def __init__(self, servers: str, user: str, password: str) -> None:
        self._host, _, port = servers.partition(":")
        self._port, self._own = int(port), 0
        self._secret = f"\0{user}\0{password}".encode()

    async def run(self, certificate: str, key: str) -> None:
        """Serve, after the address was written to standard output."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context) as server:
            self._own = server.sockets[0].getsockname()[1]
            print(f"127.0.0.1:{self._own}", flush=True)  # noqa: T201 - read by the test
            await server.serve_forever()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        upward, downward = await asyncio.open_connection(self._host, self._port)
        try:
            if await self._is_authenticated(reader, writer, upward, downward):
                await asyncio.gather(self._requests(reader, downward), self._responses(upward, writer))
        except (IncompleteReadError, OSError):
            pass  # one of the two ends has closed
        finally:
            downward.transport.abort()
            writer.transport.abort()

    async def _is_authenticated(
        self, reader: StreamReader, writer: StreamWriter, upward: StreamReader, downward: StreamWriter
    ) -> bool:
        while True:
            frame = await _read(reader)
            key, version = struct.unpack_from(">hh", frame)
            if key == API_VERSIONS:
                _write(downward, frame)
                _write(writer, _with_sasl(await _read(upward), version))
            elif key == SASL_HANDSHAKE:
                _write(writer, frame[4:8] + struct.pack(">hih", 0, 1, 5) + b"PLAIN")
            elif key == SASL_AUTHENTICATE:
                is_right = frame.endswith(struct.pack(">i", len(self._secret)) + self._secret)
                error = 0 if is_right else SASL_AUTHENTICATION_FAILED
                # No text, no bytes, and from version 1 on no end of the session.
                _write(writer, frame[4:8] + struct.pack(">hhi", error, -1, 0) + bytes(8 * version))
                if is_right:
                    return True
            else:
                return False

    async def _requests(self, reader: StreamReader, writer: StreamWriter) -> None:
        while True:
            _write(writer, await _read(reader))
            await writer.drain()

    async def _responses(self, reader: StreamReader, writer: StreamWriter) -> None:
        cluster, own = (self._host.encode() + struct.pack(">i", port) for port in (self._port, self._own))
        while True:
            _write(writer, (await _read(reader)).replace(cluster, own))
            await writer.drain()


async def _read(reader: StreamReader) -> bytes:
    """Read a frame: its length as 4 bytes, and so many."""
    return await reader.readexactly(int.from_bytes(await reader.readexactly(4)))


def _write(writer: StreamWriter, frame: bytes) -> None:
    writer.write(len(frame).to_bytes(4) + frame)


def _with_sasl(response: bytes, version: int) -> bytes:
    """Add the two requests of SASL to those that the cluster says it takes, from 0 to 2 the versions that it knows."""
    correlation, error, count = struct.unpack_from(">ihi", response)
    if version > 2:
        return response  # "unsupported": the client asks again
    added = struct.pack(">hhhhhh", SASL_HANDSHAKE, 0, 1, SASL_AUTHENTICATE, 0, 1)
    return struct.pack(">ihi", correlation, error, count + 2) + added + response[10:]


if __name__ == "__main__":
    cluster, certificate, key, user, password = sys.argv[1:]
    asyncio.run(_Proxy(cluster, user, password).run(certificate, key))
