"""File systems by URL: Arrow's own for S3, Google Cloud, Azure and HDFS, else those of fsspec where it is installed."""

from __future__ import annotations

from typing import Any, Final

from model_kit.errors import DataError, MissingLibraryError

#: Stands for standard input or output.
STANDARD: Final = "-"


def is_url(path: str) -> bool:
    """Whether a path is one of an object store or another file system."""
    return "://" in path


def file_system(path: str) -> tuple[Any, str]:
    """The Arrow file system of a path or URL, and the path on it; other protocols than Arrow's are those of fsspec.

    Raises:
        DataError: nothing that is installed knows the protocol.
        MissingLibraryError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        from pyarrow import fs  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingLibraryError("folders, patterns and object stores need pyarrow, which is not installed") from error
    if not is_url(path):
        return fs.LocalFileSystem(), path
    protocol = path.partition("://")[0]
    try:
        found: tuple[Any, str] = fs.FileSystem.from_uri(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        try:
            from fsspec.core import url_to_fs  # noqa: PLC0415 - where it is installed

            system, inner = url_to_fs(path)
        except (ImportError, ValueError) as missing:
            raise DataError(f"{protocol}://: {first_line(error)}; fsspec: {first_line(missing)}") from error
        found = fs.PyFileSystem(fs.FSSpecHandler(system)), inner
    return found


def first_line(error: BaseException) -> str:
    """The first line of what an error says."""
    return (str(error).splitlines() or [type(error).__name__])[0]
