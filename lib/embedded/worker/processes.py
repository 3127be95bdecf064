"""Process groups of trainers: found by a mark in their environment, stopped by SIGTERM, then by SIGKILL."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable
from pathlib import Path

ATTEMPT_MARK = "LORA_ATTEMPT"
# LORA_TRAINER_ENV_NAME is NAME to a trainer, and nothing to our own processes.
TRAINER_VARIABLE = "LORA_TRAINER_ENV_"


def age_s(pid: int | None) -> float | None:
    """Seconds since a process began, however the clock was set meanwhile. Needs Linux; None elsewhere."""
    with contextlib.suppress(OSError, IndexError, AttributeError):
        ticks = int(Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return None


def machine_run() -> str:
    """Names the time since the machine, or the container, was started last. It does not depend on the clock.

    Needs /proc; empty elsewhere: whether there was a restart is unknown then.
    """
    with contextlib.suppress(OSError, IndexError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        # Ticks from the boot to the start of the first process, behind its name: a container has one of its own.
        return f"{boot}/{Path('/proc/1/stat').read_text('utf-8', 'replace').rpartition(')')[2].split()[19]}"
    return ""


class GroupStop:
    """Stops process groups: SIGTERM, or the signal given, at the first call, SIGKILL once ``grace_s`` have passed."""

    def __init__(self, grace_s: float, first: int = signal.SIGTERM) -> None:
        self._grace_s = grace_s
        self._first = signal.Signals(first)
        self._since: float | None = None

    @property
    def is_asked(self) -> bool:
        """Whether the groups were asked to stop."""
        return self._since is not None

    def press(self, groups: Iterable[int]) -> None:
        """Call repeatedly until the groups are gone."""
        if self._since is None:
            self._since = time.monotonic()
            signal_groups(groups, self._first)
        elif time.monotonic() - self._since >= self._grace_s:
            signal_groups(groups, signal.SIGKILL)


def signal_groups(groups: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to all remaining processes of the groups."""
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)


def is_marked(pid: int | None, mark: str) -> bool:
    """Whether this process carries the mark: ids are reused, marks are not. Needs /proc; False elsewhere."""
    if pid is None:
        return False
    with contextlib.suppress(OSError):
        return f"{ATTEMPT_MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return False


def find_marked(mark: str) -> list[int]:
    """Ids of the processes that carry an attempt's mark. Needs /proc; empty elsewhere."""
    with contextlib.suppress(OSError):
        names = [entry.name for entry in os.scandir("/proc")]
        return [int(name) for name in names if name.isdigit() and is_marked(int(name), mark)]
    return []


def groups_of_marked(mark: str) -> set[int]:
    """Groups of the processes that carry an attempt's mark."""
    groups = set()
    for pid in find_marked(mark):
        with contextlib.suppress(ProcessLookupError):
            groups.add(os.getpgid(pid))
    return groups


def kill_marked(mark: str) -> None:
    """Kill what is left of an attempt whose trainer ended: its children may not hold its lock."""
    for pid in find_marked(mark):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def let_end(process: subprocess.Popen[bytes]) -> None:
    """Detach from a process; its end is awaited in a thread, or it would stay a zombie."""
    threading.Thread(target=process.wait, name=f"end-of-{process.pid}", daemon=True).start()
