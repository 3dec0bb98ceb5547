"""The file by which commands find the server of a port: its process id, and what became of its last reload.

The server holds a lock on the file, which the system releases when the process ends: a file that is not locked was left
by a server that has ended, whatever process has its number now.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ml_api.settings import Settings, SettingsError

_MEMORY = Path("/dev/shm")  # noqa: S108  the folder in it is this user's alone


class PidFile:
    """The server's own side; its process must open the file only once, because closing it ends the lock.

    Args:
        path: of the file, see :func:`path_of`.

    Raises:
        SettingsError: it cannot be written, or another server holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        while True:
            self._file = _open(path, os.O_RDWR | os.O_CREAT)
            if not _lock(self._file):
                raise SettingsError(f"PID_FILE is {path}, which another server uses")
            with suppress(OSError):
                if os.path.samestat(os.stat(path), os.fstat(self._file)):
                    break
            # The server before this one has deleted it meanwhile.
            os.close(self._file)
        try:
            self.write({})
        except OSError as error:
            raise SettingsError(f"PID_FILE is {path}, which cannot be written: {error.strerror}") from error

    def write(self, report: Mapping[str, Any]) -> None:
        """Write what became of the last reload.

        Raises:
            OSError: it cannot be written.
        """
        content = f"{os.getpid()}\n{json.dumps(report)}\n".encode()
        os.pwrite(self._file, content, 0)
        os.truncate(self._file, len(content))

    def remove(self) -> None:
        """Delete the file; the lock remains until the process ends."""
        self.path.unlink(missing_ok=True)


class RunningServer:
    """A command's side.

    Args:
        path: of the file.

    Raises:
        SettingsError: there is no such server, or it is another user's.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = _open(path, os.O_RDWR)
        except FileNotFoundError as error:
            raise SettingsError(
                f"no server is found: there is no {path}; PORT, PID_FILE and the user must be those of the server"
            ) from error
        if self.has_ended():
            raise SettingsError(f"no server is found: the one that wrote {path} has ended")

    def has_ended(self) -> bool:
        """Return whether the server's process has ended."""
        ended = _lock(self._file)
        if ended:
            fcntl.lockf(self._file, fcntl.LOCK_UN)
        return ended

    def is_stopping(self) -> bool:
        """Return whether the server has deleted its file, as it does when it begins to stop."""
        try:
            return not os.path.samestat(self._path.stat(), os.fstat(self._file))
        except FileNotFoundError:
            return True

    def read(self) -> tuple[int, dict[str, Any]] | None:
        """Return process id and last report; ``None`` while they are being written."""
        content = os.pread(self._file, os.fstat(self._file).st_size, 0)
        try:
            pid, report, _ = content.split(b"\n", 2)
            return int(pid), dict(json.loads(report))
        except ValueError:
            return None


def path_of(settings: Settings) -> Path:
    """Return the path of the server's file: ``PID_FILE``, else one named after the port in a folder of this user.

    Raises:
        SettingsError: the folder is another user's, or others may write to it.
    """
    if settings.pid_file is not None:
        return Path(settings.pid_file)
    base = _MEMORY if os.access(_MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    folder = base / f"ml_api-{os.geteuid()}"
    try:
        folder.mkdir(0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise SettingsError(f"PID_FILE is not set, and {folder} cannot be used: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise SettingsError(f"PID_FILE is not set, and {folder} is no folder of this user alone")
    return folder / f"{settings.port}.pid"


def _open(path: Path, flags: int) -> int:
    try:
        file = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except FileNotFoundError:
        if flags & os.O_CREAT:
            raise SettingsError(f"PID_FILE is {path}, and there is no folder {path.parent}") from None
        raise
    except OSError as error:
        raise SettingsError(f"PID_FILE is {path}, which cannot be used: {error.strerror}") from error
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        # Another user's might name any process.
        os.close(file)
        raise SettingsError(f"PID_FILE is {path}, which is not a regular file of this user")
    return file


def _lock(file: int) -> bool:
    try:
        # Of the process, unlike flock: a forked worker does not hold it.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
