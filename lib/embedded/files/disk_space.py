"""How much may still be written: a file system without free inodes is as full as one without free bytes."""

import os
from pathlib import Path

MIN_INODES = 16


def free_bytes(path: Path) -> int:
    """Bytes that may still be written; 0 when there is no room for another file. Raises OSError."""
    found = os.statvfs(path)
    return 0 if has_no_inodes(found) else found.f_bavail * found.f_frsize


def has_no_inodes(found: os.statvfs_result, keep: int = MIN_INODES) -> bool:
    """Whether hardly another file can be made. Some file systems make inodes as they need them and count none."""
    return found.f_files > 0 and found.f_favail < keep
