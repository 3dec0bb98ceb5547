from __future__ import annotations

import pytest

from ml_api.client_address import TrustedProxies

PROXIES = ("127.0.0.1", "10.0.0.0/8", "2001:db8:1::/48")


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "client"),
    [
        (PROXIES, "192.0.2.1", None, "192.0.2.1"),
        (PROXIES, "192.0.2.1", "198.51.100.9", "192.0.2.1"),  # no proxy: it may have made that up
        (PROXIES, "127.0.0.1", None, "127.0.0.1"),
        (PROXIES, "127.0.0.1", "198.51.100.9", "198.51.100.9"),
        (PROXIES, "127.0.0.1", "203.0.113.5, 198.51.100.9", "198.51.100.9"),
        (PROXIES, "127.0.0.1", "203.0.113.5, 198.51.100.9 ,10.1.2.3", "198.51.100.9"),
        (PROXIES, "127.0.0.1", "10.1.2.3", "10.1.2.3"),
        (PROXIES, "127.0.0.1", "203.0.113.5,nonsense", "127.0.0.1"),
        (PROXIES, "127.0.0.1", "", "127.0.0.1"),
        (PROXIES, "2001:db8:1::1", "2001:db8:2:3:4:5:6:7", "2001:db8:2:3::/64"),
        (PROXIES, "::ffff:10.1.2.3", "::ffff:198.51.100.9", "198.51.100.9"),
        (("*",), "192.0.2.1", "203.0.113.5,198.51.100.9", "198.51.100.9"),
        (("*",), "192.0.2.1", None, "192.0.2.1"),
        (("*", "198.51.100.0/24"), "192.0.2.1", "203.0.113.5,198.51.100.9", "203.0.113.5"),
        (PROXIES, "", "198.51.100.9", "unknown"),
    ],
)
def test_client_is_the_last_address_that_is_no_trusted_proxy(
    trusted: tuple[str, ...], peer: str, forwarded: str | None, client: str
) -> None:
    environ = {"REMOTE_ADDR": peer} | ({} if forwarded is None else {"HTTP_X_FORWARDED_FOR": forwarded})
    assert TrustedProxies(trusted).client(environ) == client
