"""The private package index, as the environment names it. Standard library only: this runs wherever Python does."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from project import ScriptError

URL = "PACKAGE_INDEX_URL"
UPLOAD_URL = "PACKAGE_INDEX_UPLOAD_URL"
USER = "PACKAGE_INDEX_USER"
TOKEN = "PACKAGE_INDEX_TOKEN"  # noqa: S105 - the name of the variable
VARIABLES = (URL, UPLOAD_URL, USER, TOKEN)

HELP = f"""\
environment variables that name the index (without {URL}, an index on this machine is started and stopped):
  {URL}         where pip finds packages, e.g. https://index.example/simple/; may carry user:token@
  {UPLOAD_URL}  where packages are sent; default: {URL} without its last part, simple/
  {USER}        who asks, unless the URL says it
  {TOKEN}       the password or token, unless the URL carries it; it is never shown and never an argument
"""


@dataclass(frozen=True)
class PackageIndex:
    """An index and who asks it; both URLs are without credentials and end in a slash."""

    url: str
    upload_url: str
    user: str
    token: str = field(repr=False)

    @property
    def host(self) -> str:
        """Name or address of the server."""
        return urlsplit(self.url).hostname or ""

    @property
    def local(self) -> bool:
        """Whether the server is on this machine."""
        return is_loopback(self.host)

    @property
    def variables(self) -> dict[str, str]:
        """The environment that names it, see :func:`index_from_environment`."""
        return {URL: self.url, USER: self.user, TOKEN: self.token}

    def scrub(self, text: str) -> str:
        """Return the text without the token, however a tool has written it."""
        for secret in {self.token, quote(self.token, safe=""), quote(self.token)} - {""}:
            text = text.replace(secret, "****")
        return text


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def index_from_environment(environ: Mapping[str, str]) -> PackageIndex | None:
    """Return the index that the environment names; ``None`` if it names none.

    Raises:
        ScriptError: something is missing or malformed; the text names every variable at fault, and no secret.
    """
    given = {name: environ.get(name, "").strip() for name in VARIABLES}
    if not any(given.values()):
        return None
    if not given[URL]:
        raise ScriptError(f"{URL} is not set, but {', '.join(name for name in VARIABLES if given[name])} is", 2)
    faults: list[str] = []
    url, user, token = _split(URL, given[URL], faults)
    upload, upload_user, upload_token = _split(UPLOAD_URL, given[UPLOAD_URL] or _without_simple(url), faults)
    user = given[USER] or user or upload_user
    # A URL with a user alone, https://TOKEN@host/, is how some indexes spell a token.
    token = given[TOKEN] or token or upload_token
    if not user:
        faults.append(f"{USER} is not set and {URL} carries no user")
    if not token and given[USER]:
        faults.append(f"{TOKEN} is not set and {URL} carries no token")
    if "\n" in user + token or "\r" in user + token:
        faults.append(f"{USER} or {TOKEN} has more than one line")
    if faults:
        raise ScriptError("the package index cannot be used:\n" + "\n".join(f"  {fault}" for fault in faults), 2)
    return PackageIndex(url, upload, user, token)


def _split(name: str, value: str, faults: list[str]) -> tuple[str, str, str]:
    """Return a URL without its credentials, the user, the token."""
    try:
        parts = urlsplit(value)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not host:
        faults.append(f"{name} is no URL of the form https://host/path/")
        return "", "", ""
    if parts.scheme == "http" and not is_loopback(host):
        faults.append(f"{name} is http: the token would be sent unencrypted; use https")
    where = f"[{host}]" if ":" in host else host
    path = parts.path if parts.path.endswith("/") else parts.path + "/"
    url = urlunsplit((parts.scheme, where if port is None else f"{where}:{port}", path, "", ""))
    return url, unquote(parts.username or ""), unquote(parts.password or "")


def _without_simple(url: str) -> str:
    return url.removesuffix("simple/")
