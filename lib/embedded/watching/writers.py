"""Which processes of this machine have a run's files open for writing. Needs /proc; nothing is known elsewhere."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

PROC = Path("/proc")
_WRITES = os.O_WRONLY | os.O_RDWR
_START_FIELD = 19  # of /proc/<pid>/stat, counted behind the name


def writers_of(paths: Sequence[str]) -> frozenset[tuple[int, str]]:
    """Id and start of each process that has one of these files, or a file below these folders, open for writing.

    Processes of other accounts cannot be looked into.
    """
    places = tuple(path for path in paths if path)
    found = set()
    for pid in _pids():
        if pid != os.getpid() and _writes_to(PROC / str(pid), places):
            found.add((pid, _start_of(pid)))
    return frozenset(found)


def is_alive(writer: tuple[int, str]) -> bool:
    """Whether this process still lives: ids are reused, starts are not."""
    pid, start = writer
    return bool(start) and _start_of(pid) == start


def _pids() -> Iterator[int]:
    with contextlib.suppress(OSError), os.scandir(PROC) as entries:
        yield from [int(entry.name) for entry in entries if entry.name.isdigit()]


def _writes_to(process: Path, places: tuple[str, ...]) -> bool:
    with contextlib.suppress(OSError):  # it has ended, or is another account's
        for name in os.listdir(process / "fd"):  # noqa: PTH208 (thousands of them: pathlib is several times slower)
            with contextlib.suppress(OSError):
                target = os.readlink(f"{process}/fd/{name}")  # noqa: PTH115
                is_meant = any(target == place or target.startswith(f"{place}/") for place in places)
                if is_meant and _flags(f"{process}/fdinfo/{name}") & _WRITES:
                    return True
    return False


def _flags(path: str) -> int:
    words = Path(path).read_text().split()
    return int(words[words.index("flags:") + 1], 8)


def _start_of(pid: int) -> str:
    """When a process started, in ticks since the boot; empty when it is gone or a zombie."""
    with contextlib.suppress(OSError, IndexError):
        state, *fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return "" if state == "Z" else fields[_START_FIELD - 1]
    return ""
