"""What a worker sends to the runner of a shadow: the records of one request, or of a part of it, in one packet."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

#: Bytes of a body in one packet; the system keeps packets in pieces of memory of this order.
MAX_BODY = 60_000
#: Bytes that the system keeps for one worker: about two hundred packets of one row.
BUFFER = 512 * 1024

_HEAD = Struct("!32sIII")


class Packet(NamedTuple):
    """Records of a request.

    Attributes:
        prediction_id: of the request.
        first: index of the first of these records.
        n_rows: how many records these are; none in a packet that tells only what was dropped.
        dropped: how many the worker could not send since its last packet.
        body: JSON, as requests have it.
    """

    prediction_id: str
    first: int
    n_rows: int
    dropped: int
    body: bytes

    @classmethod
    def decode(cls, data: bytes) -> Packet:
        """Read a packet."""
        identity, first, n_rows, dropped = _HEAD.unpack_from(data)
        return cls(identity.decode(), first, n_rows, dropped, data[_HEAD.size :])


def head(prediction_id: str, first: int, n_rows: int, dropped: int) -> bytes:
    """Return what comes before the body."""
    return _HEAD.pack(prediction_id.encode(), first, n_rows, dropped)


#: Bytes of a packet.
MAX_PACKET = MAX_BODY + _HEAD.size
