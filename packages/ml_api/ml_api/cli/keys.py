"""``ml-api keys``: make, list and revoke API keys in a file."""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ml_api.keys import SCOPES, KeysError, check_name, check_scopes, new_key, read_file
from ml_api.settings import Settings

#: Mode of a new file: the server may run as another user, and digests give nothing away.
_MODE = 0o644


def add(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("keys", help="make, list and revoke API keys")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    file = argparse.ArgumentParser(add_help=False)
    file.add_argument("--file", type=Path, help="the file of keys (default: API_KEYS_FILE)")

    new = commands.add_parser(
        "new", parents=[file], help="make a key; it is printed once, and its SHA-256 added to the file"
    )
    new.add_argument("name", help="of the caller; several keys may have the same, to change from one to the next")
    new.add_argument(
        "--scopes", default="predict,read", help=f"of {', '.join(SCOPES)}, separated by commas (default: %(default)s)"
    )
    new.set_defaults(run=_new)

    shown = commands.add_parser("list", parents=[file], help="list names, ids and scopes")
    shown.set_defaults(run=_list)

    revoke = commands.add_parser("revoke", parents=[file], help="remove keys; a server refuses them within 5 s")
    revoke.add_argument("name")
    revoke.add_argument("--id", help="of the one key that is meant, if several have the name")
    revoke.set_defaults(run=_revoke)


def _file(options: argparse.Namespace) -> Path | None:
    given: Path | None = options.file
    name = Settings.from_environ(os.environ).api_keys_file
    return given or (Path(name) if name else None)


def _existing_file(options: argparse.Namespace) -> Path:
    path = _file(options)
    if path is None:
        raise KeysError("there is no file of keys; name it with --file or the variable API_KEYS_FILE")
    return path


def _new(options: argparse.Namespace) -> None:
    secret, key = new_key(check_name(options.name), check_scopes(options.scopes))
    path = _file(options)
    if path is None:
        print(f"Add this to the variable API_KEYS of the server: {key}", file=sys.stderr)
    else:
        with _edited(path) as lines:
            lines.append(str(key))
        print(f"Added the key {key.id} of {key.name} to {path}. The key, which is shown only here:", file=sys.stderr)
    print(secret)


def _list(options: argparse.Namespace) -> None:
    keys = read_file(_existing_file(options))
    width = max((len(key.name) for key in keys), default=0)
    for key in keys:
        print(f"{key.name:{width}}  {key.id}  {','.join(key.scopes)}")


def _revoke(options: argparse.Namespace) -> None:
    path = _existing_file(options)
    keys = read_file(path)
    revoked = {key for key in keys if key.name == options.name and options.id in (None, key.id)}
    if not revoked:
        known = ", ".join(f"{key.name} {key.id}" for key in keys) or "none"
        wanted = options.name if options.id is None else f"{options.name} {options.id}"
        raise KeysError(f"{path} has no key {wanted}; it has: {known}")
    with _edited(path) as lines:
        entries = {str(key) for key in revoked}
        lines[:] = [line for line in lines if line.partition("#")[0].strip() not in entries]
    for key in keys:
        if key in revoked:
            print(f"Revoked the key {key.id} of {key.name}.")


@contextmanager
def _edited(path: Path) -> Generator[list[str]]:
    """The lines of a file, which is replaced by what the block makes of them, and is never seen half written.

    Raises:
        KeysError: it cannot be read or written, or has an entry that is not valid.
    """
    try:
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise KeysError(f"{path.parent}: {error.strerror}") from error
    try:
        # Of two commands at once, one waits for the other.
        fcntl.flock(folder, fcntl.LOCK_EX)
        if path.exists():
            read_file(path)
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        yield lines
        temporary = path.with_name(f".{path.name}.new")
        temporary.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        temporary.chmod(path.stat().st_mode & 0o777 if path.exists() else _MODE)
        temporary.replace(path)
    except OSError as error:
        raise KeysError(f"{path}: {error.strerror}") from error
    finally:
        os.close(folder)
