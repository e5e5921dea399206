"""Files that are whole or absent, reads that are bounded, and the lock of a folder."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import socket
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vgcore.errors import StoreError

LOCK = ".lock"
_BINARY = getattr(os, "O_BINARY", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)
_LOCK_BYTES = 4096


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that its name never stands for half of it, even across a power cut.

    The temporary name is nobody else's, and a symbolic link under the final one is replaced, not
    followed: nothing outside the folder is written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        write_new(temporary, data)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a text file, as `write_whole` does."""
    write_whole(path, text.encode(errors="backslashreplace"))


def inner_folder(folder: Path) -> None:
    """Make a folder within one of ours; a link there, which may lead anywhere, is refused."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise StoreError(f"{folder}: something is in the way; choose another --out")
    make_folder(folder)


def results_folder(folder: Path) -> None:
    """Make a folder for what will be measured, or say that none can be there."""
    try:
        make_folder(folder)
    except OSError as error:
        raise StoreError(
            f"{folder}: no folder can be made there ({error.strerror}); choose another --out"
        ) from error


def write_new(path: Path, data: bytes) -> None:
    """Write a file that does not exist yet, down to the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
    try:
        _write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:  # one call may write less than it was asked to
        rest = rest[os.write(descriptor, rest) :]


def sync_folder(folder: Path) -> None:
    """Make what was renamed or made in a folder outlast a power cut."""
    if os.name != "posix":  # Windows cannot open folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network disks have no such call
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    in_the_way = next((one for one in (folder, *folder.parents) if one.is_file()), None)
    if in_the_way is not None:
        raise StoreError(
            f"{folder}: {in_the_way} is a file, expected a folder; choose another one with --out"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for one in missing:
        sync_folder(one.parent)


def read_whole(path: Path, most: int, *, links: bool = False) -> bytes:
    """The bytes of a regular file, at most so many; within its folder unless `links` are allowed.

    Raises
    ------
    StoreError
        It is missing, larger, a symbolic link (whose target may lie anywhere), or no file at all
        (a pipe would never end).
    """
    try:
        follow = 0 if links else _NOFOLLOW
        descriptor = os.open(path, os.O_RDONLY | follow | _NONBLOCK | _BINARY)
    except FileNotFoundError:
        raise StoreError(f"{path}: missing") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise StoreError(f"{path}: a symbolic link, expected a file") from None
        raise StoreError(f"{path}: cannot be read ({error.strerror})") from None
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise StoreError(f"{path}: not a file")
        if found.st_size > most:
            raise StoreError(f"{path}: {found.st_size:,} bytes, expected at most {most:,}")
        try:
            return file.read(most)
        except OSError as error:
            raise StoreError(f"{path}: cannot be read ({error.strerror})") from None


class Lock:
    """Keeps other runs out of a folder for as long as it is open, and tells who is inside.

    A file `.lock` names process, host and time, and is locked by the system, which lets go of it
    when the process ends, however it ends. What a crash leaves behind is taken over. Where the
    system cannot lock files (Windows, some network disks), the process named in it is looked up.

    Attributes
    ----------
    token : str
        A random number in the file: who reads it there sees the same folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK
        self.token = secrets.token_hex(16)
        self._descriptor = self._open()
        if self._descriptor is None:
            return
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "token": self.token,
        }
        try:
            os.ftruncate(self._descriptor, 0)
            _write_all(self._descriptor, json.dumps(holder).encode() + b"\n")
        except BaseException:
            self.close()
            raise

    def _open(self) -> int | None:
        """The locked file; None where the folder cannot be written, which every writer meets."""
        while True:
            try:
                flags = os.O_RDWR | os.O_CREAT | _NOFOLLOW | _NONBLOCK | _BINARY
                descriptor = os.open(self._path, flags, 0o666)
            except OSError as error:
                if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                    return None
                raise
            try:
                self._lock(descriptor)
                if _is_at(descriptor, self._path):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # its holder removed it between the two calls: once more

    def _lock(self, descriptor: int) -> None:
        try:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._refusal() from None
        except (ImportError, OSError):  # no such call on this system or this disk
            if _is_running(read_lock(self._path.parent)):
                raise self._refusal(" (if that run is gone, remove the file .lock)") from None

    def _refusal(self, hint: str = "") -> StoreError:
        holder = read_lock(self._path.parent)
        who = (
            f"process {holder.get('pid')} on {holder.get('host')}, since {holder.get('since')}"
            if holder
            else "it has not said yet which"
        )
        return StoreError(
            f"{self._path.parent}: another run is writing here: {who}; wait for it or choose "
            f"another --out{hint}"
        )

    def close(self) -> None:
        """Let others in."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None


def read_lock(folder: Path) -> dict[str, Any]:
    """What the lock of a folder says of its holder; empty where nothing can be read there."""
    try:
        holder = json.loads(read_whole(folder / LOCK, _LOCK_BYTES))
    except (StoreError, ValueError, RecursionError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _is_running(holder: dict[str, Any]) -> bool:
    """Whether the process that a lock names may still run; one on another host may."""
    pid = holder.get("pid")
    if type(pid) is not int or pid <= 0 or os.name != "posix":
        return False
    if holder.get("host") != socket.gethostname():
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
