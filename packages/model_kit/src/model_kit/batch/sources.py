"""The files that an argument of the command line names: a path, a pattern, a folder, the URL of an object store."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast

from model_kit.batch.file_systems import STANDARD, file_system, first_line, is_url
from model_kit.batch.rows import Format
from model_kit.errors import DataError

_PATTERN: Final = frozenset("*?[")
#: Files of a folder that are no part of its table begin with these: _SUCCESS, .crc.
_HIDDEN: Final = (".", "_")
#: Bytes that are read from an object store at a time.
_REMOTE_BLOCK: Final = 1 << 20


class Source(NamedTuple):
    """A file that can be read.

    Attributes:
        name: what errors call it.
        path: where it is, on the file system that it is on.
        open: opens it; with ``True`` so that it can be read from any place, as Parquet files are.
        values: name of a column that the path has for all rows -> its value, an Arrow scalar.
    """

    name: str
    path: str
    open: Callable[[bool], io.BufferedReader]
    values: Mapping[str, Any] = MappingProxyType({})


def name_of(path: str) -> str:
    """What a table is called in words."""
    if path == STANDARD:
        return "standard input"
    return path.rstrip("/").rpartition("/")[2] if is_url(path) else Path(path).name


def find_sources(path: str, has_format: Callable[[str], Format | None]) -> list[Source]:
    """The files that a path names, in the order of their names where it names several.

    Args:
        path: a file, ``STANDARD``, a pattern with ``*``, ``?`` or ``[``, a folder, or the URL of one of these.
        has_format: the format that the name of a file in a folder says, ``None`` for those that are passed over.

    Raises:
        DataError: there is none, or the folder has files of several formats.
        MissingLibraryError: folders, patterns and URLs need a library that is not installed.
    """
    if path == STANDARD:
        return [Source(name_of(path), path, lambda _: _standard_input())]
    local = Path(path)
    if not is_url(path) and not local.is_dir() and (local.exists() or not _PATTERN & set(path)):
        return [Source(name_of(path), path, lambda _: _open_local(path))]
    system, inner = file_system(path)
    from pyarrow.fs import FileSelector, FileType  # noqa: PLC0415 - an extra

    try:
        kind = system.get_file_info(inner).type
        if kind == FileType.File or (kind == FileType.NotFound and not _PATTERN & set(inner)):
            return [_source(system, inner)]
        pattern = None if kind == FileType.Directory else PurePosixPath(inner)
        base = inner if pattern is None else str(_fixed_part(pattern))
        infos = system.get_file_info(FileSelector(base, recursive=True, allow_not_found=True))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {first_line(error)}") from error
    paths = sorted(info.path for info in infos if info.type == FileType.File)
    if pattern is not None:
        found = [one for one in paths if _matches(PurePosixPath(one), pattern)]
    else:
        found = [one for one in paths if has_format(one) and not _is_hidden(one, base)]
        formats = {has_format(one) for one in found}
        if len(formats) > 1:
            raise DataError(
                f"{path}: has files of several formats, {', '.join(sorted(map(str, formats)))}: name one, "
                "like 'folder/*.csv'"
            )
    if not found:
        raise DataError(f"{path}: there is no such file" if pattern else f"{path}: a folder without a table")
    has_values = has_format(found[0]) == "parquet" and any("=" in one for one in found)
    try:
        values = _path_values(system, found, base) if has_values else {}
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: no partitioned table: {first_line(error)}") from error
    return [_source(system, one, values.get(one, {})) for one in found]


def _source(system: Any, path: str, values: Mapping[str, Any] = MappingProxyType({})) -> Source:
    def open_remote(seekable: bool) -> io.BufferedReader:
        try:
            file = system.open_input_file(path) if seekable else system.open_input_stream(path)
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {first_line(error)}") from error
        return file if seekable else io.BufferedReader(file, _REMOTE_BLOCK)

    if system.type_name == "local":
        return Source(Path(path).name, path, lambda _: _open_local(path), values)
    return Source(PurePosixPath(path).name, path, open_remote, values)


def _path_values(system: Any, paths: list[str], base: str) -> dict[str, dict[str, Any]]:
    """The columns that folders like year=2026 stand for, of each path."""
    import pyarrow as pa  # noqa: PLC0415 - an extra
    from pyarrow import dataset  # noqa: PLC0415

    found = dataset.dataset(paths, filesystem=system, format="parquet", partitioning="hive", partition_base_dir=base)
    # In the order of the folders.
    columns = sorted(found.partitioning.schema, key=lambda field: paths[0].find(f"/{field.name}="))
    values = {one.path: dataset.get_partition_keys(one.partition_expression) for one in found.get_fragments()}
    return {
        path: {column.name: pa.scalar(values[path].get(column.name), column.type) for column in columns}
        for path in paths
    }


def _fixed_part(pattern: PurePosixPath) -> PurePosixPath:
    while _PATTERN & set(str(pattern)):
        pattern = pattern.parent
    return pattern


def _matches(path: PurePosixPath, pattern: PurePosixPath) -> bool:
    return len(path.parts) == len(pattern.parts) and all(
        fnmatchcase(part, wanted) and (wanted.startswith(".") or not part.startswith("."))
        for part, wanted in zip(path.parts, pattern.parts, strict=True)
    )


def _is_hidden(path: str, base: str) -> bool:
    return any(part.startswith(_HIDDEN) for part in PurePosixPath(path).relative_to(base).parts)


def _standard_input() -> io.BufferedReader:
    if sys.stdin is None:
        raise DataError("standard input is closed")
    return cast("io.BufferedReader", sys.stdin.buffer)


def _open_local(path: str) -> io.BufferedReader:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
