from __future__ import annotations

import pytest

from package_index import PackageIndex, index_from_environment
from project import ScriptError


def read(**variables: str) -> PackageIndex | None:
    return index_from_environment({f"PACKAGE_INDEX_{name}": value for name, value in variables.items()})


def fault(**variables: str) -> str:
    with pytest.raises(ScriptError) as caught:
        read(**variables)
    assert caught.value.status == 2
    return str(caught.value)


def test_without_variables_there_is_no_index() -> None:
    assert read() is None
    assert read(URL="", TOKEN=" ") is None


def test_url_may_carry_the_credentials_percent_encoded() -> None:
    index = read(URL="https://me:a%2Fb%40c@index.example:8443/team/simple")
    assert index == PackageIndex(
        "https://index.example:8443/team/simple/", "https://index.example:8443/team/", "me", "a/b@c"
    )
    assert not index.local


def test_variables_win_over_the_url() -> None:
    index = read(
        URL="https://a:b@index.example/simple/", USER="me", TOKEN="secret", UPLOAD_URL="https://push.example/me"
    )
    assert index == PackageIndex("https://index.example/simple/", "https://push.example/me/", "me", "secret")


def test_a_token_alone_may_stand_as_the_user() -> None:
    index = read(URL="https://t0ken@index.example/me/")
    assert index == PackageIndex("https://index.example/me/", "https://index.example/me/", "t0ken", "")


def test_ipv6_loopback_may_be_http() -> None:
    index = read(URL="http://me:x@[::1]:8080/simple/")
    assert index is not None
    assert (index.url, index.local) == ("http://[::1]:8080/simple/", True)


def test_everything_missing_or_malformed_is_named_in_one_message() -> None:
    text = fault(URL="index.example/simple", UPLOAD_URL="ftp://push.example", TOKEN="s3cret")
    assert "PACKAGE_INDEX_URL is no URL" in text
    assert "PACKAGE_INDEX_UPLOAD_URL is no URL" in text
    assert "PACKAGE_INDEX_USER is not set" in text
    assert "s3cret" not in text


def test_a_user_without_token_is_refused() -> None:
    assert "PACKAGE_INDEX_TOKEN is not set" in fault(URL="https://index.example/simple/", USER="me")


def test_credentials_without_a_url_are_refused() -> None:
    assert fault(USER="me", TOKEN="x") == "PACKAGE_INDEX_URL is not set, but PACKAGE_INDEX_USER, PACKAGE_INDEX_TOKEN is"


def test_a_token_never_travels_in_clear() -> None:
    assert "PACKAGE_INDEX_URL is http" in fault(URL="http://me:x@index.example/simple/")


def test_a_port_that_is_none_and_a_token_of_two_lines_are_refused() -> None:
    assert "PACKAGE_INDEX_URL is no URL" in fault(URL="https://me:x@index.example:port/simple/")
    assert "more than one line" in fault(URL="https://index.example/simple/", USER="me", TOKEN="a\nb")


def test_the_token_is_scrubbed_however_it_is_spelled_and_never_shown() -> None:
    index = PackageIndex("https://index.example/", "https://index.example/", "me", "a/b@c")
    assert index.scrub("a/b@c a%2Fb%40c a/b%40c rest") == "**** **** **** rest"
    assert "a/b" not in repr(index)
    assert PackageIndex("https://h/", "https://h/", "me", "").scrub("text") == "text"
