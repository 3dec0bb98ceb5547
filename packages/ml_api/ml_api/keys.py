"""API keys: random, known to the server by their SHA-256 only, each with a name and scopes.

An entry is ``NAME:SCOPE,SCOPE:SHA256``. Several entries may have the same name, so that a caller can change from one
key to the next without a gap. A key has 256 random bits, so its digest needs neither salt nor a slow hash.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ml_api.logs import LOGGER
from ml_api.settings import Settings, SettingsError

#: What a key may be for: predictions; reading versions, models and pages; outcomes; metrics.
SCOPES = ("predict", "read", "outcomes", "metrics")
#: Seconds between two looks at the file: a key that is revoked is refused within 5 s.
LOOK_INTERVAL = 1.0
#: Begins every key, so that programs that search for leaked secrets can find it.
PREFIX = "mlapi_"
#: Hexadecimal digits of a digest that identify an entry for people.
ID_DIGITS = 8

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class KeysError(SettingsError):
    """Keys cannot be read; the message names the source and the line or entry."""


@dataclass(frozen=True)
class Key:
    """An entry: the name of the caller, what the key is for, and its SHA-256 in hexadecimal digits."""

    name: str
    scopes: tuple[str, ...]
    digest: str

    @property
    def id(self) -> str:
        """The first digits of the digest."""
        return self.digest[:ID_DIGITS]

    def __str__(self) -> str:
        """Return the entry as it is written."""
        return f"{self.name}:{','.join(self.scopes)}:{self.digest}"


def check_name(name: str) -> str:
    """Return a valid name.

    Raises:
        KeysError: it is not valid.
    """
    if not _NAME.fullmatch(name):
        raise KeysError(f"{name!r} is no name of a key; it must be 1 to 64 letters, digits and any of ._-")
    return name


def check_scopes(text: str) -> tuple[str, ...]:
    """Return the scopes of a text that separates them by commas.

    Raises:
        KeysError: one is unknown, or there is none.
    """
    scopes = tuple(dict.fromkeys(text.split(",")))
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown:
        raise KeysError(f"{unknown[0]!r} is no scope of a key; they are {', '.join(SCOPES)}, separated by commas")
    return scopes


def new_key(name: str, scopes: tuple[str, ...]) -> tuple[str, Key]:
    """Return a new key, which is shown once and stored nowhere, and its entry."""
    secret = PREFIX + secrets.token_urlsafe(32)
    return secret, Key(check_name(name), scopes, _digest(secret))


def parse(entries: Iterable[tuple[str, str]]) -> tuple[Key, ...]:
    """Parse entries.

    Args:
        entries: where each is, for error messages, and its text.

    Raises:
        KeysError: one is not valid, or a key occurs twice.
    """
    found: dict[str, Key] = {}
    for where, text in entries:
        name, *rest = text.split(":")
        # What is there instead may be the key itself, which no message must repeat.
        if len(rest) != 2 or not _DIGEST.fullmatch(rest[1]):
            raise KeysError(f"{where} is not NAME:SCOPES:SHA256, as `ml-api keys new` writes it")
        try:
            key = Key(check_name(name), check_scopes(rest[0]), rest[1])
        except KeysError as error:
            raise KeysError(f"{where}: {error}") from error
        if key.digest in found:
            raise KeysError(f"{where}: the key of {name} is there twice, also as that of {found[key.digest].name}")
        found[key.digest] = key
    return tuple(found.values())


def parse_variable(text: str) -> tuple[Key, ...]:
    """Parse the entries of a variable, separated by blanks or line ends."""
    return parse((f"API_KEYS, entry {number}", entry) for number, entry in enumerate(text.split(), 1))


def read_file(path: Path) -> tuple[Key, ...]:
    """Parse a file of one entry a line; ``#`` begins a comment.

    Raises:
        KeysError: it cannot be read, or an entry is not valid.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise KeysError(f"{path} (API_KEYS_FILE): {getattr(error, 'strerror', None) or error}") from error
    entries = ((number, line.partition("#")[0].strip()) for number, line in enumerate(lines, 1))
    return parse((f"{path}, line {number}", entry) for number, entry in entries if entry)


class KeyRing:
    """The keys that are accepted; a file is read again when it has changed.

    A file that has become invalid changes nothing but the log: the keys that it had remain valid.

    Args:
        path: the file; ``None``: there are only ``keys``.
        keys: further keys.
    """

    def __init__(self, path: Path | None, keys: tuple[Key, ...] = ()) -> None:
        self._path, self._given = path, keys
        self._keys = [(bytes.fromhex(key.digest), key) for key in keys]
        self._next_look = 0.0
        self._seen: object = None

    @classmethod
    def from_settings(cls, settings: Settings) -> KeyRing | None:
        """Return the keys of the settings; ``None`` if they name none."""
        if not settings.needs_keys:
            return None
        path = Path(settings.api_keys_file) if settings.api_keys_file else None
        return cls(path, parse_variable(settings.api_keys or ""))

    def check(self) -> None:
        """Check that the file can be read.

        Raises:
            KeysError: it cannot, or has an entry that is not valid.
        """
        if self._path is not None:
            read_file(self._path)

    def find(self, secret: str) -> Key | None:
        """Return the entry of a key; comparing takes as long for any."""
        if self._path is not None and (now := time.monotonic()) >= self._next_look:
            self._next_look = now + LOOK_INTERVAL
            self._look(self._path)
        digest = bytes.fromhex(_digest(secret))
        found = None
        for known, key in self._keys:
            if hmac.compare_digest(known, digest):
                found = key
        return found

    def _look(self, path: Path) -> None:
        try:
            status = os.stat(path)
            seen: object = (status.st_mtime_ns, status.st_size, status.st_ino)
        except OSError as error:
            seen = error.errno
        if seen == self._seen:
            return
        self._seen = seen
        try:
            keys = self._given + read_file(path)
        except KeysError as error:
            LOGGER.error("API keys were not read again", extra={"fields": {"reason": str(error)}})
        else:
            self._keys = [(bytes.fromhex(key.digest), key) for key in keys]


def _digest(secret: str) -> str:
    return sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
