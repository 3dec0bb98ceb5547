"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from model_kit.batch.compression import compression_of
from model_kit.batch.file_systems import STANDARD, file_system, is_url
from model_kit.errors import DataError


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
    """Open a file, ``STANDARD`` for standard output, or the URL of an object; its name says whether it is compressed.

    Raises:
        DataError: it cannot be written.
        OSError: the file cannot be written.
    """
    if path == STANDARD:
        if sys.stdout is None:
            raise DataError("standard output is closed")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    compression = compression_of(path)
    with _uploading(path) if is_url(path) else replacing_binary(Path(path)) as file:
        if compression is None:
            yield file
            return
        with compression.pack(file) as compressed:
            yield cast("BinaryIO", compressed)


@contextmanager
def _uploading(url: str) -> Generator[BinaryIO, None, None]:
    """Open a temporary file that becomes an object when it is complete: a store keeps no half of one."""
    system, path = file_system(url)
    from pyarrow import fs  # noqa: PLC0415 - an extra

    with tempfile.NamedTemporaryFile() as file:
        yield cast("BinaryIO", file)
        file.flush()
        try:
            fs.copy_files(file.name, path, fs.LocalFileSystem(), system)
        except OSError as error:
            raise DataError(f"{path}: cannot be written: {error}") from error
