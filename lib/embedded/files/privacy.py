"""The data folder belongs to the account that runs the dashboard: no other account may look into it."""

import contextlib
import stat
from pathlib import Path

PRIVATE_UMASK = 0o077
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def close_to_others(folder: Path) -> None:
    """Take the rights of other accounts from a folder and from what lies directly in it.

    What lies deeper cannot be reached through a closed folder. What belongs to another account stays as it is;
    ``is_open_to_others`` then says so.
    """
    for path in (folder, *folder.iterdir()):
        with contextlib.suppress(OSError):
            mode = path.lstat().st_mode
            if not stat.S_ISLNK(mode) and mode & _OTHERS:
                path.chmod(stat.S_IMODE(mode) & ~_OTHERS)


def is_open_to_others(folder: Path) -> bool:
    """Whether another account of this machine may look into a folder. Raises OSError."""
    return bool(folder.stat().st_mode & _OTHERS)
