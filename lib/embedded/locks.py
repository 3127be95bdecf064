"""File locks that live as long as the processes that hold them: the kernel frees them, whatever kills a process."""

import fcntl
import os
import time
from pathlib import Path

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


def is_held(path: Path) -> bool:
    """Whether some process holds the lock.

    The look takes a shared lock for a moment, so whoever takes the lock in earnest needs a little patience.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
