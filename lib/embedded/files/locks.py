"""File locks that live as long as the processes that hold them: the kernel frees them, whatever kills a process."""

import fcntl
import os
import time
from pathlib import Path

from lib.embedded.files.availability import open_if_there

_POLL_S = 0.02


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


def is_at(path: Path, descriptor: int) -> bool:
    """Whether the path leads to the locked file; what else is there may stand in for a folder that is away."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False


def is_deleted(descriptor: int) -> bool:
    """Whether the locked file was deleted: a folder that was only moved away, or whose disk is, comes back."""
    try:
        return os.fstat(descriptor).st_nlink == 0
    except OSError:  # the disk is away
        return False


def is_held(path: Path) -> bool:
    """Whether some process holds the lock.

    The look takes a shared lock for a moment, so whoever takes the lock in earnest needs a little patience.

    Raises:
        OutOfReach: Nobody can tell: in a folder that was moved away, a lock is still held.
    """
    descriptor = open_if_there(path)
    if descriptor is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
