"""How much may still be written: a file system without free inodes is as full as one without free bytes."""

import os
from pathlib import Path

from lib.jobs.words import size_text

MIN_INODES = 16
LITTLE_SPACE_BYTES = 1 << 30
LITTLE_SPACE_INODES = 10_000


def free_bytes(path: Path) -> int:
    """Bytes that may still be written; 0 when there is no room for another file. Raises OSError."""
    found = os.statvfs(path)
    return 0 if has_no_inodes(found) else found.f_bavail * found.f_frsize


def has_no_inodes(found: os.statvfs_result, keep: int = MIN_INODES) -> bool:
    """Whether hardly another file can be made. Some file systems make inodes as they need them and count none."""
    return found.f_files > 0 and found.f_favail < keep


def space_problem(path: Path) -> str:
    """A sentence when there is little space left, or hardly another file fits; empty otherwise. Raises OSError."""
    found = os.statvfs(path)
    free = found.f_bavail * found.f_frsize
    if has_no_inodes(found, LITTLE_SPACE_INODES):
        return f"Only {found.f_favail:,} more files fit into the data folder, though {size_text(free)} are free."
    return "" if free > LITTLE_SPACE_BYTES else f"{size_text(free)} free in the data folder."
