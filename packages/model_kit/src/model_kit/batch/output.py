"""Files that are written whole or not at all."""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO, Final, TextIO, cast

from model_kit.errors import DataError

#: Stands for standard input or output.
STANDARD: Final = "-"
GZIP_SUFFIX: Final = ".gz"


@contextmanager
def replacing_binary(path: Path) -> Generator[BinaryIO, None, None]:
    """Open ``path`` for writing bytes; a regular file is replaced only when the block ends without an error.

    The file that replaces another has its mode and, where that is permitted, its owner; a new one follows the umask.

    Raises:
        DataError: there is no such folder.
        OSError: the folder or the file cannot be written.
    """
    if path.exists() and not path.is_file():
        # A device or a pipe cannot be replaced.
        with path.open("wb") as file:
            yield file
        return
    try:
        target = path.resolve()
    except RuntimeError as error:  # until Python 3.13
        raise DataError(f"{path}: a symbolic link that leads to itself") from error
    if not target.parent.is_dir():
        raise DataError(f"{path}: there is no folder {path.parent}")
    before = target.stat() if target.exists() else None
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        # What is to be private is not readable by others while it is written.
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if before else 0o666)
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if before:
            with suppress(OSError, AttributeError):
                os.chown(part, before.st_uid, before.st_gid)
            part.chmod(before.st_mode & 0o7777)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Generator[TextIO, None, None]:
    """As :func:`replacing_binary`, for UTF-8 text."""
    with replacing_binary(path) as file:
        text = TextIOWrapper(file, encoding="utf-8", newline="")
        try:
            yield text
        finally:
            text.detach()


@contextmanager
def binary_output(path: str) -> Generator[BinaryIO, None, None]:
    """Open a file, or ``STANDARD`` for standard output; one whose name ends with .gz is compressed.

    Raises:
        OSError: the file cannot be written.
    """
    if path == STANDARD:
        if sys.stdout is None:
            raise DataError("standard output is closed")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with replacing_binary(Path(path)) as file:
        if not path.lower().endswith(GZIP_SUFFIX):
            yield file
            return
        # Without a time, so that the same rows are the same bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as compressed:
            yield cast("BinaryIO", compressed)
