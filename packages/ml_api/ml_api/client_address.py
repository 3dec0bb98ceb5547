"""The address of a client, behind proxies or not."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, TypeAlias

_Address: TypeAlias = IPv4Address | IPv6Address
#: Bits of an IPv6 address that are one client's: providers give each a network.
_CLIENT_BITS = 64


class TrustedProxies:
    """Proxies whose ``X-Forwarded-For`` is believed.

    Args:
        trusted: addresses and networks; ``*`` is any peer, but no other address in the header.

    Raises:
        ValueError: one is not valid.
    """

    def __init__(self, trusted: tuple[str, ...]) -> None:
        self._any = "*" in trusted
        self._find_cached = lru_cache(maxsize=1024)(self._find)
        self._networks = [ip_network(text, strict=False) for text in trusted if text != "*"]

    def client(self, environ: Mapping[str, Any]) -> str:
        """Return the address of the client of a request, or its network if it is an IPv6 address.

        That is the last address in the header that is no trusted proxy's; what comes before, the client may have made
        up.
        """
        return self._find_cached(environ.get("REMOTE_ADDR", ""), environ.get("HTTP_X_FORWARDED_FOR", ""))

    def _find(self, remote: str, forwarded: str) -> str:
        peer = _parse(remote)
        if peer is None:
            return "unknown"
        client, sent = peer, forwarded.split(",")
        while sent and (self._is_trusted(client) or (self._any and client is peer)):
            earlier = _parse(sent.pop().strip())
            if earlier is None:
                break
            client = earlier
        if isinstance(client, IPv6Address):
            return str(IPv6Network((client, _CLIENT_BITS), strict=False))
        return str(client)

    def _is_trusted(self, address: _Address) -> bool:
        return any(address in network for network in self._networks)


def _parse(text: str) -> _Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
