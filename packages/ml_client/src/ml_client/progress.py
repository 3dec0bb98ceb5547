"""A progress bar, or a function that is told how many rows are done."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeAlias

from ml_client.errors import MLClientError

#: ``True``: a bar on stderr; or called with the number of rows that are done.
Progress: TypeAlias = bool | Callable[[int], object]


@contextmanager
def reporting(progress: Progress, total: int | None) -> Generator[Callable[[int], object]]:
    """Return the function that takes the rows that were just done.

    Raises:
        MLClientError: the library of the bar is not installed.
    """
    if progress is False:
        yield lambda _: None
        return
    if progress is not True:
        done = 0

        def add(rows: int) -> None:
            nonlocal done
            done += rows
            progress(done)

        yield add
        return
    try:
        from tqdm import tqdm  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise MLClientError('progress=True needs tqdm: pip install tqdm, the extra "progress"') from error
    with tqdm(total=total, unit=" rows", unit_scale=True) as bar:
        yield bar.update
