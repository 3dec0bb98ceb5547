"""Compressed files: unpacked by what their first bytes say, written as their names say."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, BinaryIO, Final, NamedTuple, cast

from model_kit.errors import DataError, MissingLibraryError


class Compression(NamedTuple):
    """A way to compress.

    Attributes:
        name: in errors.
        magic: matches the first bytes of such a file. Of gzip the first alone, as no text begins with it, and the first
            read of a pipe may be of one byte.
        unpack: a binary file -> one of its content.
        pack: a binary file -> one whose content is written to it compressed; the same bytes for the same content.
    """

    name: str
    magic: re.Pattern[bytes]
    unpack: Callable[[BinaryIO], Any]
    pack: Callable[[BinaryIO], Any]


class _Frames(io.RawIOBase):
    """Writes each piece as a frame of its own; such files are unpacked as one."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._compress = file, _arrow(name).Codec(name).compress

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, content: Any) -> int:
        """Write a frame."""
        self._file.write(self._compress(content, asbytes=True))
        return len(content)


def _arrow(name: str) -> Any:
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise MissingLibraryError(f"{name} files need pyarrow, which is not installed") from error
    return pa


def _with_arrow(name: str, magic: re.Pattern[bytes]) -> Compression:
    def unpack(file: BinaryIO) -> Any:
        pa = _arrow(name)
        return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), name)

    return Compression(name, magic, unpack, lambda file: _Frames(file, name))


#: Suffix -> how such a file is compressed.
COMPRESSIONS: Final = {
    # Without a time, so that the same rows are the same bytes.
    ".gz": Compression("gzip", re.compile(rb"\x1f"), gzip.open, lambda file: gzip.GzipFile("", "wb", 9, file, 0)),
    ".bz2": Compression(
        "bzip2", re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"), bz2.open, lambda file: bz2.BZ2File(file, "wb")
    ),
    ".xz": Compression("xz", re.compile(rb"\xfd7zXZ\0"), lzma.open, lambda file: lzma.LZMAFile(file, "wb")),  # noqa: SIM115 - closed by who writes
    ".zst": _with_arrow("zstd", re.compile(rb"\x28\xb5\x2f\xfd")),
    ".lz4": _with_arrow("lz4", re.compile(rb"\x04\x22\x4d\x18")),
}


def compression_of(path: str) -> Compression | None:
    """How a file of this name is to be compressed; ``None`` if it is not."""
    return COMPRESSIONS.get(PurePath(path).suffix.lower())


def without_compression(path: str) -> PurePath:
    """The name that a file has when it is unpacked."""
    return PurePath(path).with_suffix("") if compression_of(path) else PurePath(path)


def unpacked(file: io.BufferedReader, name: str) -> io.BufferedReader:
    """The content of a file, compressed or not.

    Args:
        file: need not be seekable.
        name: what errors call it.
    """
    begin = file.peek(1)
    for compression in COMPRESSIONS.values():
        if compression.magic.match(begin):
            return io.BufferedReader(_Unpacked(compression, file, name), 1 << 18)
    return file


class _Unpacked(io.RawIOBase):
    def __init__(self, compression: Compression, file: BinaryIO, name: str) -> None:
        self._file = compression.unpack(file)
        self._fault = f"{name}: compressed by {compression.name}, and damaged or cut off"

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Unpack some bytes.

        Raises:
            DataError: the file is damaged, or ends too early.
        """
        try:
            content = cast("bytes", self._file.read1(len(buffer)))
        except (EOFError, ValueError, OSError, lzma.LZMAError, zlib.error) as error:
            # What the system says about the file itself has a number.
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise DataError(f"{self._fault}: {error}") from error
        buffer[: len(content)] = content
        return len(content)
