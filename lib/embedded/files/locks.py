"""File locks that the kernel frees when the processes that hold them end, however they end."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lib.embedded.files.availability import open_file

WORKER_LOCK = "worker.lock"  # in the data folder, held by its worker
_POLL_S = 0.02
# A worker that lost its lock file tries for a second to get the new one.
_GIVES_UP_AFTER_S = 1.5


def take(path: Path, *, patience_s: float = 0.0) -> int | None:
    """Lock a file and return its descriptor; None when another process holds it for longer than ``patience_s``."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return None
            time.sleep(_POLL_S)
        except BaseException:
            os.close(descriptor)
            raise


@contextmanager
def taken_from_holder(path: Path, *, patience_s: float = 60.0) -> Iterator[None]:
    """Hold a lock and make its holder let go: a new file, locked already, replaces the one that it holds.

    After ``patience_s`` the former holder counts as hung, and the block runs anyway.
    """
    descriptor = take(path)
    if descriptor is None:
        former = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            descriptor = _put_locked(path)
            _wait_for(former, patience_s)
        finally:
            os.close(former)
        time.sleep(_GIVES_UP_AFTER_S)
    try:
        yield
    finally:
        os.close(descriptor)


def _put_locked(path: Path) -> int:
    """Replace a lock file by a new one that is locked from its first moment."""
    successor = path.with_name(f".{path.name}.{os.getpid()}-{time.monotonic_ns()}")
    descriptor = os.open(successor, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    successor.replace(path)
    return descriptor


def _wait_for(descriptor: int, patience_s: float) -> None:
    """Wait until no other process holds the lock of an open file."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(_POLL_S)


def is_at(path: Path, descriptor: int) -> bool:
    """Whether the path leads to the locked file; anything else may be in the place of an unavailable folder."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False


def is_deleted(descriptor: int) -> bool:
    """Whether the locked file was deleted; a folder that was moved away or unmounted may come back."""
    try:
        return os.fstat(descriptor).st_nlink == 0
    except OSError:  # the disk is unavailable
        return False


def is_held(path: Path) -> bool:
    """Whether some process holds the lock.

    Probing takes a shared lock briefly, so a process that wants the lock must be a little patient.

    Raises:
        FolderUnavailable: Unknown: a lock in a folder that was moved away is still held.
    """
    descriptor = open_file(path)
    if descriptor is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
