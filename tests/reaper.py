"""Ends what a run of pytest started, also when pytest is killed: servers, workers and trainers outlive their parent.

Everything that a run starts inherits ``RUN`` in its environment. Each pytest process, xdist's workers included, starts
this file as a process that waits for the end of its standard input, which the system closes whatever pytest dies of.
"""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

RUN = "PYTEST_RUN"
# A process that is being started bears its parent's environment for a moment, so one look is not enough.
QUIET_S = 0.5
POLL_S = 0.05
Find = Callable[[], list[psutil.Process]]


def started_by(run: str) -> list[psutil.Process]:
    """The living processes that carry the mark of a run."""
    return living(lambda process: process.environ().get(RUN) == run)


def working_on(folder: Path) -> list[psutil.Process]:
    """The living processes with a path in this folder among their arguments."""
    return living(lambda process: any(part.startswith(str(folder)) for part in process.cmdline()))


def living(is_wanted: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and is_wanted(process) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def kill_all(find: Find, *, quiet_s: float = 0.0) -> None:
    """Kill until nothing has been found for a while: what is killed may have started something just before."""
    quiet_since = time.monotonic()
    while (found := find()) or time.monotonic() - quiet_since < quiet_s:
        for process in found:
            quiet_since = time.monotonic()
            with suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(POLL_S)


class Reaper:
    """Marks this process's children from now on, and has them killed when this process is gone."""

    def __init__(self) -> None:
        environment = {name: value for name, value in os.environ.items() if name != RUN}
        self.run = os.environ[RUN] = f"{os.getpid()}-{secrets.token_hex(8)}"
        self._process = subprocess.Popen(
            [sys.executable, __file__, self.run], stdin=subprocess.PIPE, env=environment, start_new_session=True
        )

    def close(self) -> None:
        """Kill what is left, and wait until it is gone."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


if __name__ == "__main__":
    sys.stdin.buffer.read()
    kill_all(lambda: started_by(sys.argv[1]), quiet_s=QUIET_S)
